"""`RunsService`: decode, call the domain, encode."""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import grpc
import structlog

from context_svc.domain.answer_call import answer_call
from context_svc.domain.append_events import append_events, append_to_runs
from context_svc.domain.cancel import cancel
from context_svc.domain.claim import claim, renew
from context_svc.domain.decide_call import decide_call
from context_svc.domain.delete_run import delete_run
from context_svc.domain.lease import LEASE_SECONDS
from context_svc.domain.ports import Store
from context_svc.domain.read_window import first_window
from context_svc.domain.require_action import require_action
from context_svc.domain.run import Run
from context_svc.domain.start import Started, start
from context_svc.domain.take_over import hand_over, take_over
from context_svc.domain.waiting_input import waiting_input
from context_svc.domain.watch import watch
from context_svc.edge.actions_codec import decode_answers, decode_require_action, decode_word, encode_decided
from context_svc.edge.input_codec import decode_place, encode_waiting
from context_svc.edge.metrics import EdgeMetrics
from context_svc.edge.runs_codec import (
    decode_append,
    decode_finish,
    decode_start,
    decode_states,
    decode_writes,
    duration,
    encode_appended,
    encode_event,
    encode_outcome,
    encode_run,
)
from context_svc.edge.tenancy import require_run, tenant_of, visible_run
from context_svc.edge.threads_codec import decode_page_token, encode_page_token, encode_window, plain
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as rpc
from threadmesh.clock import Clock
from threadmesh.crash_points import crash_point
from threadmesh.errors import IdempotencyKeyReused, MeshError
from threadmesh.rpc import deadline

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

_RUNS = 50
_ANSWER_SECONDS = 0.1
"""Kept back from a claim's wait, so that "busy" still reaches the caller."""
_TAKING_SECONDS = 1.0
"""Kept back from the wait for a lost run: nobody else gets what was taken for a caller who has not heard of it."""


class RunsServicer(rpc.RunsServiceServicer):
    """Keeps runs, their event logs and who may write to them in a store."""

    def __init__(self, store: Store, clock: Clock, metrics: EdgeMetrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        """Make a run and store its input, once for every idempotency key."""
        try:
            started = await start(decode_start(request), store=self._store)
        except IdempotencyKeyReused:
            self._metrics.replays.labels("refused").inc()
            raise
        if started.replayed:
            self._metrics.replays.labels("replayed").inc()
        elif started.run.epoch:
            self._metrics.claims.labels("granted").inc()
        _tell("run.started", started.run, replayed=started.replayed, epoch=started.run.epoch)
        response = pb.StartRunResponse(run=encode_run(started.run), replayed=started.replayed)
        if request.window_token_budget:
            with suppress(MeshError):  # whoever needs the window hears of it there
                await self._foresee(started, request.window_token_budget, response)
        return response

    async def _foresee(self, started: Started, budget: int, response: pb.StartRunResponse) -> None:
        """Tell the window of a run that has begun with its start."""
        if window := await first_window(started, budget=budget, threads=self._store):
            self._metrics.window_tokens.observe(window.tokens)
            response.window.CopyFrom(encode_window(window))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Give one run."""
        return pb.GetRunResponse(run=encode_run(await visible_run(request, self._store)))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """List runs, the latest first."""
        size = request.page_size or _RUNS
        found = await self._store.runs(
            thread_id=request.thread_id,
            states=decode_states(request.states),
            after=decode_page_token(request.page_token),
            limit=size + 1,
            tenant=tenant_of(request),
        )
        runs, more = found[:size], len(found) > size
        return pb.ListRunsResponse(
            runs=map(encode_run, runs),
            next_page_token=encode_page_token(runs[-1].create_time, runs[-1].id) if more else "",
        )

    async def ClaimRun(self, request: pb.ClaimRunRequest, context: Context) -> pb.ClaimRunResponse:
        """Make the caller the only writer of a run, once it is its turn."""
        try:
            run = await claim(
                request.run_id,
                owner=plain(request.owner, field="owner"),
                patience=(deadline.remaining() or 0.0) - _ANSWER_SECONDS,
                store=self._store,
                clock=self._clock,
            )
        except MeshError as error:
            self._metrics.claims.labels(error.reason.lower()).inc()
            raise
        self._metrics.claims.labels("granted" if run.epoch == 1 else "taken_over").inc()
        _tell("run.claimed", run, epoch=run.epoch, owner=run.owner)
        return pb.ClaimRunResponse(run=encode_run(run), lease=duration(LEASE_SECONDS))

    async def TakeOverRun(self, request: pb.TakeOverRunRequest, context: Context) -> pb.TakeOverRunResponse:
        """Make the caller the writer of a run whose own writer is gone, if there is or comes any."""
        run = await take_over(
            owner=plain(request.owner, field="owner"),
            patience=(deadline.remaining() or 0.0) - _TAKING_SECONDS,
            store=self._store,
            clock=self._clock,
        )
        if run is None:
            return pb.TakeOverRunResponse()
        self._metrics.claims.labels("taken_over").inc()
        _tell("run.taken_over", run, epoch=run.epoch, owner=run.owner)
        return pb.TakeOverRunResponse(run=encode_run(run), lease=duration(LEASE_SECONDS))

    async def HandOverRun(self, request: pb.HandOverRunRequest, context: Context) -> pb.HandOverRunResponse:
        """Give a run up to whoever takes it over next."""
        _tell("run.handed_over", await hand_over(request.run_id, epoch=request.epoch, store=self._store))
        return pb.HandOverRunResponse()

    async def RenewRun(self, request: pb.RenewRunRequest, context: Context) -> pb.RenewRunResponse:
        """Extend a lease."""
        run = await renew(request.run_id, epoch=request.epoch, store=self._store)
        return pb.RenewRunResponse(lease=duration(LEASE_SECONDS), cancel_requested=run.cancel_requested)

    async def AppendEvents(
        self, request_iterator: AsyncIterator[pb.AppendEventsRequest], context: Context
    ) -> AsyncIterator[pb.AppendEventsResponse]:
        """Write to runs, each request in one transaction, and acknowledge in order."""
        async for request in request_iterator:
            run = await append_events(decode_append(request), store=self._store)
            _tell_end(run)
            yield encode_appended(run)

    async def AppendToRuns(
        self, request_iterator: AsyncIterator[pb.AppendToRunsRequest], context: Context
    ) -> AsyncIterator[pb.AppendToRunsResponse]:
        """Write to many runs, each request with one commit, and answer in order."""
        async for request in request_iterator:
            outcomes = await append_to_runs(decode_writes(request.writes), store=self._store)
            for outcome in outcomes:
                if isinstance(outcome, Run):
                    _tell_end(outcome)
            yield pb.AppendToRunsResponse(outcomes=map(encode_outcome, outcomes))

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        """Stream the log of a run after a given event until its terminal event."""
        after = request.after_sequence if request.HasField("after_sequence") else -1
        await require_run(request, self._store)
        with self._metrics.watchers.track_inprogress():
            async with aclosing(watch(request.run_id, after=after, store=self._store)) as pieces:
                async for events in pieces:
                    yield pb.WatchRunResponse(events=map(encode_event, events))

    async def FinishRun(self, request: pb.FinishRunRequest, context: Context) -> pb.FinishRunResponse:
        """End a run: its last items, its terminal event and its state in one transaction."""
        run = await append_events(decode_finish(request), store=self._store)
        _tell_end(run)
        return pb.FinishRunResponse(run=encode_run(run))

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Ask the writer of a run to stop; a run without a writer ends at once."""
        await require_run(request, self._store)
        run = await cancel(request.run_id, store=self._store)
        _tell("run.cancelled", run)
        return pb.CancelRunResponse(run=encode_run(run))

    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Context) -> pb.DeleteRunResponse:
        """Forget a run that has ended."""
        run = await visible_run(request, self._store)
        await delete_run(request.run_id, store=self._store)
        _tell("run.deleted", run)
        return pb.DeleteRunResponse()

    async def RequireAction(self, request: pb.RequireActionRequest, context: Context) -> pb.RequireActionResponse:
        """Let a run wait until persons have decided about its calls."""
        write, actions, seconds = decode_require_action(request)
        crash_point("ctx.before_waiting")
        run = await require_action(write, actions, seconds=seconds, store=self._store)
        crash_point("ctx.after_waiting")
        _tell("run.waiting", run, calls=[action.call_id for action in actions])
        return pb.RequireActionResponse(run=encode_run(run))

    async def ResolveCall(self, request: pb.ResolveCallRequest, context: Context) -> pb.ResolveCallResponse:
        """Take a person's word about a tool call."""
        word = decode_word(request)
        await require_run(request, self._store)
        run, call = await decide_call(request.run_id, request.call_id, word, store=self._store)
        _tell("call.decided", run, call_id=call.id, tool=call.name, resolution=word.resolution.value)
        return pb.ResolveCallResponse(call=encode_decided(call, run), run=encode_run(run))

    async def AnswerCall(self, request: pb.AnswerCallRequest, context: Context) -> pb.AnswerCallResponse:
        """Take a person's answers to what a tool's server asks."""
        answers = decode_answers(request)
        await require_run(request, self._store)
        request_id = plain(request.request_id, field="request_id")
        crash_point("ctx.before_answer")
        run, call = await answer_call(
            request.run_id,
            request.call_id,
            answers,
            in_round=request.round,
            request_id=request_id,
            store=self._store,
        )
        crash_point("ctx.after_answer")
        _tell("call.answered", run, call_id=call.id, tool=call.name)
        return pb.AnswerCallResponse(call=encode_decided(call, run), run=encode_run(run))

    async def ListWaitingInput(
        self, request: pb.ListWaitingInputRequest, context: Context
    ) -> pb.ListWaitingInputResponse:
        """List the input that waits until a run has its turn."""
        after = decode_place(request.page_token)
        waiting = await waiting_input(await visible_run(request, self._store), store=self._store)
        return encode_waiting(waiting, after=after, size=request.page_size)

    async def ListCalls(self, request: pb.ListCallsRequest, context: Context) -> pb.ListCallsResponse:
        """List the tool calls of a run with their journal."""
        calls = await self._store.calls(request.run_id)
        run = await visible_run(request, self._store)
        return pb.ListCallsResponse(calls=(encode_decided(call, run) for call in calls))


def _tell_end(run: Run) -> None:
    """Log that a run has ended, if the write that gave it was its last."""
    if run.finished:
        _tell("run.finished", run, events=run.next_sequence)


def _tell(event: str, run: Run, **facts: object) -> None:
    log.info(event, run_id=run.id, thread_id=run.thread_id, state=run.state.value, **facts)
