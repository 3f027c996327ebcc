"""The tasks of a store, and word of what this process changes in them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakValueDictionary

from threadmesh.retry_budget import RetryBudget
from tools_svc.domain.ports import TaskStore
from tools_svc.domain.task import Task, TaskKey


class TaskBook:
    """Changes tasks so that nothing is overwritten unseen, and wakes those of this process who wait for it."""

    def __init__(self, store: TaskStore, *, retries: RetryBudget) -> None:
        """All who `persist` share the `retries` while the store is away."""
        self.store = store
        self.retries = retries
        self.added = asyncio.Event()
        """Is set when a task was added or put back; whoever waits for it clears it."""
        self._hints: WeakValueDictionary[TaskKey, asyncio.Event] = WeakValueDictionary()

    async def add(self, task: Task) -> Task:
        """Keep a new task, or give the one that is kept."""
        kept = await self.store.add(task)
        self.added.set()
        return kept

    async def change(self, key: TaskKey, change: Callable[[Task], Task | None]) -> Task | None:
        """Make a change of what is there, again if somebody came between; None if `change` gives None or it is gone."""
        while (task := await self.store.get(key)) is not None and (after := change(task)) is not None:
            if (changed := await self.store.put(after)) is not None:
                self._tell(key)
                return changed
        return None

    def hint(self, key: TaskKey) -> asyncio.Event:
        """Give an event that is set at this process's next change of a task, to be taken before it is read."""
        return self._hints.setdefault(key, asyncio.Event())

    def _tell(self, key: TaskKey) -> None:
        if (hint := self._hints.pop(key, None)) is not None:
            hint.set()


async def heard(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
