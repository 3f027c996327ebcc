"""Carries tasks: claims the record, makes the call, and keeps the record true until it has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from threadmesh.clock import Clock
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, CallStarted
from threadmesh.errors import Aborted, DefinitionDiffers, StoreUnavailable
from threadmesh.questions import InputRequired
from threadmesh.retry import full_jitter, persist
from tools_svc.domain.arguments import parse_arguments
from tools_svc.domain.call import CallEvent, Invocation
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.execution import Execution
from tools_svc.domain.output import failed
from tools_svc.domain.plan import Planned, Refused, plan, resumed
from tools_svc.domain.ports import CallListener, TaskListener, ToolSource
from tools_svc.domain.reconcile import Reconciler
from tools_svc.domain.task import Task, TaskKey, TaskState, Ticket
from tools_svc.domain.task_book import TaskBook, heard

PATIENCE = timedelta(seconds=60)
"""For how long after a task's deadline a store is waited for that is away."""

_GAP_SECONDS = 0.1
_LONGEST_BEAT_SECONDS = 1.0
_CHANGED = "The tool's definition has changed since the task was made, so it was not called."
_STOPPED = "The process that carried the task was stopped; whether the tool did its work is unknown."


class TaskCarrier:
    """Carries tasks, each once at a time whoever else tries: nothing goes out before the claim is kept.

    `reach` waits until a server can be called, or says that it cannot be reached now: then the task is left for later.
    A claim lasts `lease_seconds` and is
    renewed; a carrier that cannot do so may find its task in other hands, and then stops. A task that is stopped with
    its process goes back to the queue, or ends as UNKNOWN if it may neither be repeated nor was certainly not sent.
    """

    def __init__(
        self,
        book: TaskBook,
        sources: Mapping[str, ToolSource],
        *,
        catalogue: Callable[[], Catalogue],
        reach: Callable[[str], Awaitable[bool]],
        owner: str,
        lease_seconds: float,
        clock: Clock,
        calls: CallListener,
        tasks: TaskListener,
        on_defect: Callable[[Exception], None],
        pause: Callable[[int], float] = full_jitter,
    ) -> None:
        """`owner` names this process among all that share the store."""
        self._book = book
        self._sources = sources
        self._catalogue = catalogue
        self._reach = reach
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)
        self._beat_seconds = min(lease_seconds / 3, _LONGEST_BEAT_SECONDS)
        self._clock = clock
        self._calls = calls
        self._tasks = tasks
        self._on_defect = on_defect
        self._pause = pause
        self._running: dict[TaskKey, Execution] = {}

    async def carry(self, ticket: Ticket) -> None:
        """Carry a task to its end; nothing happens if it is not QUEUED or its server is away.

        Raises `StoreUnavailable` before a claim.
        """
        book = self._book
        task = await persist(lambda: book.store.get(ticket.key), seconds=PATIENCE.total_seconds(), budget=book.retries)
        if task is None or self._claim(task, ticket) is None or not await self._reach(task.server):
            return
        claim = await self._book.change(ticket.key, partial(self._claim, ticket=ticket))
        if claim is None:
            return
        self._tasks.began(claim)
        notes = _Notes(claim)
        finished = await self._carried(claim, notes)
        await self._settle(claim, lambda task: notes.on(task).ended(finished, self._clock.now()))

    def stop(self, key: TaskKey) -> None:
        """Stop a task that this process carries."""
        if (execution := self._running.get(key)) is not None:
            execution.cancel()

    def _claim(self, task: Task, ticket: Ticket) -> Task | None:
        now = self._clock.now()
        if task.state is not TaskState.QUEUED or task.epoch != ticket.epoch or now >= task.deadline:
            return None
        return task.claimed(self._owner, now, until=now + self._lease)

    async def _carried(self, claim: Task, notes: "_Notes") -> CallFinished:
        planned = self._planned(claim)
        if isinstance(planned, Refused):
            return planned.finished
        execution = self._running[claim.key] = self._execution(planned, claim, notes)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep(claim, execution, notes))
                finished = await execution.run()
                keeping.cancel()
            return finished
        except asyncio.CancelledError:
            await self._give_back(claim, notes, sent=execution.sent)
            raise
        finally:
            del self._running[claim.key]

    def _planned(self, claim: Task) -> Planned | Refused:
        """Check the call again: the tool may be gone or another one by now."""
        [planned] = plan([claim.call], self._catalogue(), approvals={claim.call.id: claim.definition_hash})
        if isinstance(planned, Planned) and planned.entry.tool.definition_hash != claim.definition_hash:
            error = DefinitionDiffers(_CHANGED, tool=claim.call.name)
            planned = Refused(call=claim.call, finished=failed(error))
        if not claim.sent or (claim.handle and isinstance(planned, Planned)):
            return planned
        return resumed(planned, keyed=bool(claim.idempotency_key))

    def _execution(self, planned: Planned, claim: Task, notes: "_Notes") -> Execution:
        invocation = Invocation(
            tool=planned.entry.tool.server_tool,
            arguments=parse_arguments(claim.call.arguments_json),
            timeout_seconds=max(0.0, (claim.deadline - self._clock.now()).total_seconds()),
            call_id=claim.call.id,
            definition_hash=claim.definition_hash,
            run_id=claim.run_id,
            thread_id=claim.thread_id,
            request_id=claim.request_id,
            idempotency_key=claim.idempotency_key,
            durable=True,
            handle=claim.handle,
        )
        source = self._sources[claim.server]
        return Execution(
            planned,
            invocation,
            source=source,
            reconciler=Reconciler(self._sources, catalogue=self._catalogue, pause=self._pause),
            log=notes,
            clock=self._clock,
            pause=self._pause,
            on_retry=partial(self._calls.retried, claim.call.name),
            on_defect=self._on_defect,
            sent_before=claim.sent,
            on_accepted=notes.accept,
        )

    async def _keep(self, claim: Task, execution: Execution, notes: "_Notes") -> None:
        """Renew the claim, write the progress down, and stop the call if it shall be stopped or is not ours."""
        present: Task | None = claim
        while True:
            await heard(notes.news, seconds=self._beat_seconds)
            with suppress(StoreUnavailable):
                present = await self._told(claim, notes)
                if present is None or present.cancelled:
                    execution.cancel()
            await asyncio.sleep(_GAP_SECONDS)

    async def _told(self, claim: Task, notes: "_Notes") -> Task | None:
        """Give the task while it is ours, written anew if there is news or a third of the lease is over."""
        present = await self._book.store.get(claim.key)
        if present is None or not present.same_claim(claim):
            return None
        until = self._clock.now() + self._lease
        if not notes.news.is_set() and present.due_at > until - self._lease / 3:
            return present
        notes.news.clear()
        return await self._book.change(
            claim.key, lambda task: replace(notes.on(task), due_at=until) if task.same_claim(claim) else None
        )

    async def _settle(self, claim: Task, change: Callable[[Task], Task]) -> None:
        def ours(task: Task) -> Task | None:
            return change(task) if task.same_claim(claim) else None

        book, left = self._book, claim.deadline + PATIENCE - self._clock.now()
        settled = await persist(lambda: book.change(claim.key, ours), seconds=left.total_seconds(), budget=book.retries)
        if settled is not None:
            self._tasks.ended(settled)

    async def _give_back(self, claim: Task, notes: "_Notes", *, sent: bool) -> None:
        now = self._clock.now()

        def back(task: Task) -> Task | None:
            queued = notes.on(task).queued_again(now, sent=sent)
            ended = queued.ended(failed(Aborted(_STOPPED), CallOutcome.UNKNOWN), now)
            return (queued if queued.repeatable else ended) if task.same_claim(claim) else None

        with suppress(StoreUnavailable):  # then the claim ends by itself, and the dispatcher decides the same
            await self._book.change(claim.key, back)


class _Notes:
    """A `CallLog` of one task: how often it went out, its newest progress, and the handle that its server gave."""

    def __init__(self, claim: Task) -> None:
        self.news = asyncio.Event()
        self._attempt = claim.attempt
        self._progress = claim.progress
        self._handle = claim.handle

    def append(self, call_id: str, event: CallEvent) -> None:  # noqa: ARG002  # it is always this task's
        match event:
            case CallStarted():
                self._attempt += 1
            case CallProgress():
                self._progress = event
            case CallFinished() | InputRequired():
                return
        self.news.set()

    def accept(self, handle: str) -> None:
        """Note that the server keeps the call."""
        self._handle = handle
        self.news.set()

    def on(self, task: Task) -> Task:
        """Give the task with what was noted."""
        return replace(task, attempt=self._attempt, progress=self._progress, handle=self._handle)
