"""A call that is a task, as the run that asked for it sees it."""

import asyncio
from collections.abc import Callable

from threadmesh.clock import Clock
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, CallStarted, ToolCall
from threadmesh.errors import Internal, MeshError, StoreUnavailable
from threadmesh.retry import persist
from tools_svc.domain.carry import PATIENCE
from tools_svc.domain.output import failed
from tools_svc.domain.ports import CallLog
from tools_svc.domain.task import Task
from tools_svc.domain.task_book import TaskBook, heard

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.25, 2.0
"""After so long a change that another process made is seen; the longer nothing happens, the later."""


class TaskExecution:
    """Keeps a task, if it is new, and tells its run's log what becomes of it. Closing streams never stops it."""

    abandoned = False
    renewable = False

    def __init__(
        self, task: Task, *, book: TaskBook, log: CallLog, clock: Clock, on_defect: Callable[[Exception], None]
    ) -> None:
        self.key = task.key
        self.followers = 0
        self.finished: CallFinished | None = None
        self.ended = asyncio.Event()
        self._task = task
        self._book = book
        self._log = log
        self._clock = clock
        self._on_defect = on_defect
        self.kept = asyncio.Event()
        """Is set once there is a record, or no hope for one."""
        self._attempt = 0
        self._progress: CallProgress | None = None

    @property
    def call(self) -> ToolCall:
        """The call as the model wrote it."""
        return self._task.call

    @property
    def tool(self) -> str:
        """The tool's name in the catalogue."""
        return self._task.call.name

    def abandon(self) -> None:
        """Go on: a task does not need listeners."""

    async def run(self) -> CallFinished:
        """Follow the task to its end and give it."""
        try:
            self.finished = await self._followed()
        except MeshError as error:
            self.finished = self._lost(error)
        except Exception as error:  # noqa: BLE001  # a defect in one call must not end its siblings
            self._on_defect(error)
            self.finished = self._lost(Internal())
        self.kept.set()
        self._log.append(self.call.id, self.finished)
        self.ended.set()
        return self.finished

    async def _followed(self) -> CallFinished:
        left = (self._task.deadline - self._clock.now()).total_seconds()
        task = await persist(lambda: self._book.add(self._task), seconds=left, budget=self._book.retries)
        self.kept.set()
        while True:
            self._tell(task)
            if task.finished is not None:
                return task.finished
            task = await self._newer(task)

    async def _newer(self, task: Task) -> Task:
        pause = _FIRST_POLL_SECONDS
        while True:
            hint = self._book.hint(task.key)
            late = self._clock.now() > task.deadline + 2 * PATIENCE
            try:
                newer = await self._book.store.get(task.key, after=task.version)
            except StoreUnavailable:
                if late:
                    raise
            else:
                if newer is not None:
                    return newer
                if late:
                    raise StoreUnavailable("The record of the task is gone.")
            await heard(hint, seconds=pause)
            pause = min(1.5 * pause, _LONGEST_POLL_SECONDS)

    def _tell(self, task: Task) -> None:
        if task.attempt > self._attempt:
            self._attempt = task.attempt
            started = CallStarted(
                name=task.call.name,
                server=task.server,
                arguments_json=task.call.arguments_json,
                attempt=task.attempt,
            )
            self._log.append(task.call.id, started)
        if task.progress is not None and task.progress != self._progress:
            self._progress = task.progress
            self._log.append(task.call.id, task.progress)

    def _lost(self, error: MeshError) -> CallFinished:
        harmless = self._task.effect.harmless
        return failed(error, CallOutcome.FAILED if harmless else CallOutcome.UNKNOWN)
