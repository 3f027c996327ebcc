"""The tasks of runs: found again, made, and stopped."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from uuid import uuid4

from threadmesh.clock import Clock
from threadmesh.conversation import CallOutcome
from threadmesh.errors import CallNotFound, Cancelled, InvalidArgument, StaleEpoch
from tools_svc.domain.call import Batch, idempotency_key
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.follow import TaskExecution
from tools_svc.domain.output import failed
from tools_svc.domain.plan import Planned
from tools_svc.domain.ports import CallLog, Substitutes, TaskRunner
from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState
from tools_svc.domain.task_book import TaskBook

_MOST_OF_A_RUN = 512
_ANOTHER = "This id belongs to another call of the run."


class Tasks:
    """What the executor knows of tasks."""

    def __init__(
        self, book: TaskBook, runner: TaskRunner, *, clock: Clock, on_defect: Callable[[Exception], None]
    ) -> None:
        self._book = book
        self._runner = runner
        self._clock = clock
        self._on_defect = on_defect

    async def known(
        self, batch: Batch, catalogue: Catalogue, *, but: Collection[str], substitutes: Substitutes
    ) -> dict[str, Task]:
        """Give the tasks that the batch's calls are already, by call, `but` for those of which nobody asks.

        They may be tasks of `substitutes`.

        Raises `StoreUnavailable`, `StaleEpoch`, and `InvalidArgument` when an id stands for another call.
        """
        queued = {tool.name for tool in catalogue.tools if tool.queued} | set(substitutes.names)
        known: dict[str, Task] = {}
        for index, call in enumerate(batch.calls):
            if call.name in queued:
                _check_plain(batch.run_id + call.id, field=f"calls[{index}].id")
            if batch.run_id and call.id not in but and (batch.resumed or call.name in queued):
                task = await self._book.store.get(TaskKey(run_id=batch.run_id, call_id=call.id))
                if task is not None:
                    if not substitutes.same(task.call, call):
                        raise InvalidArgument(_ANOTHER, field=f"calls[{index}].id")
                    known[call.id] = _current(task, batch)
        return known

    def made(self, planned: Planned, batch: Batch) -> Task:
        """Make the task of a call; one outside of runs gets a run of its own."""
        tool, now = planned.entry.tool, self._clock.now()
        run_id = batch.run_id or f"task-{uuid4().hex}"
        limits = [tool.timeout_seconds, *([batch.timeout_seconds] if batch.timeout_seconds is not None else [])]
        return Task(
            call=planned.call,
            run_id=run_id,
            epoch=batch.epoch,
            thread_id=batch.thread_id,
            request_id=batch.request_id,
            server=tool.server,
            definition_hash=tool.definition_hash,
            idempotency_key=idempotency_key(run_id, planned.call.id),
            effect=tool.effect,
            created_at=now,
            deadline=now + timedelta(seconds=min(limits)),
            due_at=now,
            verifiable=tool.verify is not None,
        )

    def execution(self, task: Task, log: CallLog) -> TaskExecution:
        """Give what follows a task for its run, and keeps it first if it is new."""
        return TaskExecution(task, book=self._book, log=log, clock=self._clock, on_defect=self._on_defect)

    async def cancel(self, key: TaskKey) -> bool:
        """Stop a task; False when it had ended before. Raises `CallNotFound` and `StoreUnavailable`."""
        changed = await self._book.change(key, self._cancelled)
        if changed is None and await self._book.store.get(key) is None:
            raise CallNotFound(call=key.call_id)
        if changed is not None and changed.state is TaskState.CLAIMED:
            self._runner.stop(key)
        return changed is not None

    async def of_run(self, run_id: str) -> Sequence[Task]:
        """Give the tasks of a run, as many as one run may remember."""
        return await self._book.store.page(TaskFilter(run_id=run_id), after=None, limit=_MOST_OF_A_RUN)

    async def page(self, wanted: TaskFilter, *, after: TaskCursor | None, limit: int) -> Sequence[Task]:
        """Give tasks, the newest first."""
        return await self._book.store.page(wanted, after=after, limit=limit)

    def _cancelled(self, task: Task) -> Task | None:
        match task.state:
            case TaskState.QUEUED:
                outcome = CallOutcome.CANCELLED if not task.sent or task.effect.harmless else CallOutcome.UNKNOWN
                return task.stopped().ended(failed(Cancelled(), outcome), self._clock.now())
            case TaskState.CLAIMED:
                return task.stopped()
            case TaskState.FINISHED:
                return None


def _check_plain(names: str, *, field: str) -> None:
    """Refuse what PostgreSQL cannot keep, with every store."""
    if "\0" in names:
        raise InvalidArgument("The ids of a task may not contain the character NUL.", field=field)


def _current(task: Task, batch: Batch) -> Task:
    if batch.epoch < task.epoch:
        raise StaleEpoch(epoch=batch.epoch, current=task.epoch)
    return task
