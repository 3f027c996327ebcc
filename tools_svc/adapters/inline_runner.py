"""Tasks in this process: no broker, and a task that shall stop is cancelled at once."""

import asyncio
from collections.abc import Awaitable, Callable

from threadmesh.errors import MeshError
from tools_svc.domain.task import TaskKey, Ticket


class InlineRunner:
    """A `TaskRunner` that carries so many tasks at a time, the longest announced first, while `run` runs."""

    announce_seconds = 60.0

    def __init__(
        self,
        carry: Callable[[Ticket], Awaitable[None]],
        stop: Callable[[TaskKey], None],
        *,
        parallel: int,
        on_defect: Callable[[Exception], None],
    ) -> None:
        self._carry = carry
        self._stop = stop
        self._parallel = parallel
        self._on_defect = on_defect
        self._known: set[Ticket] = set()
        self._waiting: asyncio.Queue[Ticket] = asyncio.Queue()

    async def announce(self, ticket: Ticket) -> None:
        """See to it that the task is carried; one that is waiting here already keeps its place."""
        if ticket not in self._known:
            self._known.add(ticket)
            self._waiting.put_nowait(ticket)

    def stop(self, key: TaskKey) -> None:
        """Stop carrying a task."""
        self._stop(key)

    async def run(self) -> None:
        """Carry tasks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._parallel):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            ticket = await self._waiting.get()
            try:
                await self._carry(ticket)
            except MeshError:
                pass  # the store is away; the task is announced again
            except Exception as error:  # noqa: BLE001  # a defect in one task must not end the others
                self._on_defect(error)
            finally:
                self._known.discard(ticket)
