"""Runs batches of calls, each call independent of the others and of whoever listens."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from contextvars import Context, copy_context
from functools import partial

from threadmesh.clock import Clock
from threadmesh.conversation import CallFinished, ToolCall
from threadmesh.errors import InvalidArgument
from threadmesh.questions import InputRequired
from threadmesh.retry import full_jitter
from tools_svc.domain.call import Batch, RunEvent
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.execution import ANSWER_SECONDS, Execution
from tools_svc.domain.invoke import goes_on_with, invocation
from tools_svc.domain.plan import Planned, Refused, plan, resumed
from tools_svc.domain.ports import CallListener, Substitutes, ToolSource
from tools_svc.domain.reconcile import Reconciler
from tools_svc.domain.runs import Carried, Run, Runs
from tools_svc.domain.task import Task, TaskKey
from tools_svc.domain.tasks import Tasks


class Executor:
    """Owns the calls that are under way; they live in `run`, not in the streams that watch them.

    `settled` returns once the servers had their chance to start. `on_defect` hears of errors that are nobody's but
    ours; `pause` gives the seconds between attempts of a call. A call for which `substitutes` has a queued one becomes
    that one's task. What a server asks is answered within `answer_seconds`.
    """

    def __init__(
        self,
        sources: Mapping[str, ToolSource],
        *,
        catalogue: Callable[[], Catalogue],
        settled: Callable[[], Awaitable[object]],
        tasks: Tasks,
        substitutes: Substitutes,
        clock: Clock,
        listener: CallListener,
        on_defect: Callable[[Exception], None],
        pause: Callable[[int], float] = full_jitter,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._sources = sources
        self._catalogue = catalogue
        self._settled = settled
        self._tasks = tasks
        self._substitutes = substitutes
        self._clock = clock
        self._listener = listener
        self._on_defect = on_defect
        self._pause = pause
        self._answer_seconds = answer_seconds
        self._runs = Runs()
        self._begun: asyncio.Queue[tuple[Carried, Run, Context]] = asyncio.Queue()

    async def run(self) -> None:
        """Carry the calls until cancelled; how those end that are under way then, nobody hears."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                execution, run, context = await self._begun.get()
                tasks.create_task(self._carry(execution, run), name=f"call:{execution.call.id}", context=context)

    async def execute(self, batch: Batch) -> AsyncGenerator[RunEvent, None]:
        """Run the calls side by side and give their events until each has finished or, where the batch
        `answers_questions`, cannot go on without answers.

        `continuations` are the answers, each for the present round of its call; others change nothing. A call that is
        held by a process that is gone is treated as a resumed one; another one goes on here.
        A call of the run that is under way or has ended recently is not sent again: its events are given again.
        Closing the stream stops the calls that nobody else follows and that cannot have changed anything yet; the
        others run on, and so do tasks. `resumed`, those that were stopped so begin anew. Of resumed calls that are not
        known, those that may not be repeated end with the outcome UNKNOWN. Raises `StaleEpoch`, `StoreUnavailable` when
        nobody can tell which calls are tasks, and `InvalidArgument` when one id stands for two calls.
        """
        await self._resumable(batch)
        present = self._runs.find(batch.run_id)
        but = present.calls if present else ()
        known = await self._tasks.known(batch, self._catalogue(), but=but, substitutes=self._substitutes)
        self._runs.fence(batch.run_id, batch.epoch)
        run = self._runs.open(batch.run_id)
        self._admit(batch, run, known)
        followed = [run.executions[call.id] for call in batch.calls if call.id in run.executions]
        for execution in followed:
            execution.followers += 1
        try:
            async with aclosing(_until_settled({call.id for call in batch.calls}, run)) as events:
                async for event in events:
                    yield event
        finally:
            _leave(followed)

    async def cancel(self, run_id: str, call_id: str, *, if_asking: bool = False) -> bool:
        """Stop a call, or only that anybody answers what it asks; False when it had ended before, or goes on.

        Raises `CallNotFound`, and `StoreUnavailable` for a task.
        """
        run = self._runs.find_call(run_id, call_id)
        execution = run.executions.get(call_id) if run is not None else None
        if isinstance(execution, Execution):
            return run is not None and run.stop(execution, if_asking=if_asking)
        if if_asking or (run is not None and execution is None):
            return False
        if execution is None:
            return await self._tasks.cancel(TaskKey(run_id=run_id, call_id=call_id))
        await execution.kept.wait()
        return await self._tasks.cancel(execution.key)

    async def watch(self, run_id: str, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Give what happened to the run's calls after an event, then what happens, until no call is in flight.

        Of a run that this process does not know, its tasks are followed. Raises `StoreUnavailable`.
        """
        if self._runs.find(run_id) is None:
            self._adopt(run_id, await self._tasks.of_run(run_id))
        if run := self._runs.find(run_id):
            async with aclosing(run.log.tail(after, until_quiet=True)) as events:
                async for event in events:
                    yield event

    def _adopt(self, run_id: str, tasks: Sequence[Task]) -> None:
        for task in tasks:
            run = self._runs.open(run_id)
            if task.call.id not in run.calls:
                run.calls[task.call.id] = task.call
                self._begin(self._tasks.execution(task, run.log), run)

    async def _resumable(self, batch: Batch) -> None:
        """Wait for what calls that began before may need: the servers of a process that has just begun, and the end of
        what was abandoned.
        """
        run = self._runs.find(batch.run_id)
        known = run.executions if run else {}
        for call in batch.calls if batch.resumed else ():
            if (execution := known.get(call.id)) and execution.abandoned:
                await execution.ended.wait()
        if batch.resumed or batch.continuations.keys() - known.keys():
            await self._settled()

    def _admit(self, batch: Batch, run: Run, known: Mapping[str, Task]) -> None:
        _check_same(batch.calls, run, self._substitutes)
        for call in batch.calls:
            if (execution := run.executions.get(call.id)) and execution.renewable and batch.resumed:
                run.forget(call.id)
            elif isinstance(execution, Execution) and (answers := batch.continuations.get(call.id)) is not None:
                run.answer(execution, answers)
        new = [call for call in batch.calls if call.id not in run.calls]
        plans = plan(new, self._catalogue(), approvals=batch.approvals, trusted_context=batch.trusted_context)
        for each in plans:
            run.calls[each.call.id] = each.call
            if task := known.get(each.call.id):
                self._begin(self._tasks.execution(task, run.log), run)
                continue
            match resumed(each, keyed=bool(batch.run_id)) if _may_have_been_sent(each.call, batch) else each:
                case Planned() as planned:
                    self._begin(self._execution(planned, batch, run), run)
                case Refused(call=call, finished=finished):
                    run.log.append(call.id, finished)
                    self._listener.ended(call.name, finished)

    def _execution(self, planned: Planned, batch: Batch, run: Run) -> Carried:
        planned = self._substituted(planned)
        if planned.entry.tool.queued:
            return self._tasks.execution(self._tasks.made(planned, batch), run.log)
        source = self._sources[planned.entry.tool.server]
        return Execution(
            planned,
            invocation(planned, batch),
            source=source,
            reconciler=Reconciler(self._sources, catalogue=self._catalogue, pause=self._pause),
            log=run.log,
            clock=self._clock,
            pause=self._pause,
            on_retry=partial(self._listener.retried, planned.entry.tool.name),
            on_defect=self._on_defect,
            sent_before=_may_have_been_sent(planned.call, batch),
            may_be_asked=self._substitutes.verified(planned.call.name),
            answer_seconds=self._answer_seconds,
            rounds=goes_on_with(planned.call.id, batch).round,
        )

    def _substituted(self, planned: Planned) -> Planned:
        """Plan the call that is done in the place of this one, if there is such a one."""
        call = self._substitutes.queued(planned.call, planned.arguments)
        if call is None:
            return planned
        [instead] = plan([call], self._catalogue())
        return instead if isinstance(instead, Planned) else planned

    def _begin(self, execution: Carried, run: Run) -> None:
        run.executions[execution.call.id] = execution
        run.log.begin()
        # The call's log lines carry the ids of the request that asked for it.
        self._begun.put_nowait((execution, run, copy_context()))

    async def _carry(self, execution: Carried, run: Run) -> None:
        try:
            finished = await execution.run()
            self._listener.ended(execution.tool, finished)
        finally:
            run.log.end()


async def _until_settled(open_calls: set[str], run: Run) -> AsyncGenerator[RunEvent, None]:
    """Give the calls' events, earlier ones included, until each has finished or asks."""
    async with aclosing(run.log.tail()) as events:
        async for event in events:
            if event.call_id not in open_calls:
                continue
            yield event
            if isinstance(event.event, CallFinished | InputRequired):
                open_calls.discard(event.call_id)
            if not open_calls:
                return


def _may_have_been_sent(call: ToolCall, batch: Batch) -> bool:
    continuation = batch.continuations.get(call.id)
    return batch.resumed or (continuation is not None and continuation.held)


def _leave(followed: Sequence[Carried]) -> None:
    for execution in followed:
        execution.followers -= 1
        if execution.followers == 0:
            execution.abandon()


def _check_same(calls: Sequence[ToolCall], run: Run, substitutes: Substitutes) -> None:
    for index, call in enumerate(calls):
        if not substitutes.same(run.calls.get(call.id, call), call):
            raise InvalidArgument("This id belongs to another call of the run.", field=f"calls[{index}].id")
