"""Looks after tasks: has them carried, takes them from processes that are gone, forgets them in the end."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from threadmesh.clock import Clock
from threadmesh.conversation import CallOutcome
from threadmesh.errors import Aborted, Cancelled, DeadlineExceeded, MeshError, StoreUnavailable, Unavailable
from tools_svc.domain.output import failed
from tools_svc.domain.ports import TaskListener, TaskRunner
from tools_svc.domain.task import MOST_CLAIMS, Task, TaskCursor, TaskFilter, TaskState
from tools_svc.domain.task_book import TaskBook, heard

_TICK_SECONDS = 1.0
_AT_ONCE = 100
_AGAIN = timedelta(seconds=5)
_LOST = "The process that carried the task is gone; whether the tool did its work is unknown."
_STOPPED = "The task was stopped, and the process that carried it is gone; whether the tool did its work is unknown."
_LATE = "No process that reaches its server took the task before its time was over; it was not sent."


class TaskDispatcher:
    """Does what is due while it runs. Several may look after one store."""

    def __init__(self, book: TaskBook, runner: TaskRunner, *, clock: Clock, listener: TaskListener) -> None:
        self._book = book
        self._runner = runner
        self._clock = clock
        self._listener = listener
        self._begun = False

    async def run(self) -> None:
        """Look after the tasks until cancelled; while their store is away, try again."""
        while True:
            self._book.added.clear()
            try:
                await self.tend()
            except StoreUnavailable as error:
                self._listener.troubled(error)
            await heard(self._book.added, seconds=_TICK_SECONDS)

    async def tend(self) -> None:
        """Do what is due now; the first time, announce every task that waits: who knew of it may be gone."""
        reachable = self._begun or await self._announce_all()
        self._begun = reachable
        for task in await self._book.store.due(self._clock.now(), limit=_AT_ONCE):
            match task.state:
                case TaskState.QUEUED:
                    # A broker that is away is tried once, as it may let its callers wait for seconds.
                    reachable = reachable and await self._announce(task)
                case TaskState.CLAIMED:
                    await self._change(task, partial(_lapsed, task))
                case TaskState.FINISHED:
                    await self._book.store.remove(task)
        self._listener.counted(await self._book.store.counts())

    async def _announce_all(self) -> bool:
        after: TaskCursor | None = None
        waiting = TaskFilter(states=frozenset({TaskState.QUEUED}))
        while page := await self._book.store.page(waiting, after=after, limit=_AT_ONCE):
            for task in page:
                if not await self._announce(task):
                    return False
            after = TaskCursor(created_at=page[-1].created_at, key=page[-1].key)
        return True

    async def _announce(self, task: Task) -> bool:
        """Announce a task, or end it when its time is over; False if the runner cannot be told of it now."""
        if self._clock.now() >= task.deadline:
            await self._change(task, partial(_late, task))
            return True
        again, told = timedelta(seconds=self._runner.announce_seconds), True
        try:
            await self._runner.announce(task.ticket)
        except Unavailable as error:
            self._listener.troubled(error)
            again, told = _AGAIN, False
        await self._change(task, lambda now: task.due_again(min(now + again, task.deadline)))
        return told

    async def _change(self, task: Task, change: Callable[[datetime], Task]) -> None:
        """Change a task, unless it has changed since it was read."""
        seen = task.version
        changed = await self._book.change(
            task.key, lambda present: change(self._clock.now()) if present.version == seen else None
        )
        if changed is not None and changed.state is TaskState.FINISHED:
            self._listener.ended(changed)
        elif changed is not None and task.state is TaskState.CLAIMED:
            self._book.added.set()


def _late(task: Task, now: datetime) -> Task:
    if not task.sent:
        return task.ended(failed(DeadlineExceeded(_LATE)), now)
    return _unanswered(task, DeadlineExceeded(_LOST), now)


def _lapsed(task: Task, now: datetime) -> Task:
    """Take a task from a process that is gone: it is queued again if that may be, and so often at most."""
    if task.cancelled:
        return _unanswered(task, Cancelled(_STOPPED), now)
    if task.repeatable and task.claims < MOST_CLAIMS and now < task.deadline:
        return task.queued_again(now, sent=True)
    return _unanswered(task, Aborted(_LOST), now)


def _unanswered(task: Task, error: MeshError, now: datetime) -> Task:
    outcome = CallOutcome.FAILED if task.effect.harmless else CallOutcome.UNKNOWN
    return task.ended(failed(error, outcome), now)
