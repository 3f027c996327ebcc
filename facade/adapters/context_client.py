"""Threads and runs as context_svc keeps them."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial

from facade.adapters.call_codec import decode_call, encode_answers, encode_verdict
from facade.adapters.foreseen_windows import ForeseenWindows
from facade.adapters.local_logs import LocalLogs
from facade.adapters.run_codec import decode_event, decode_run, encode_list
from facade.adapters.run_writer import PEER, PERSIST_SECONDS, SECONDS, Appender, RunWriter
from facade.adapters.said_until import said_until
from facade.adapters.start_codec import decode_window, encode_start
from facade.domain.events import Run, RunEvent, RunFinished, RunState
from facade.domain.records import CallRecord, NewRun, Said, Verdict, Window
from facade.domain.retries import Retries
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as runs_rpc
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1 import threads_service_pb2_grpc as threads_rpc
from threadmesh.crash_points import crash_point
from threadmesh.errors import Unavailable
from threadmesh.questions import Answer
from threadmesh.retry import persist
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream
from threadmesh.streams import begun

_SILENCE_SECONDS = 10.0
"""A watched log shows a sign of life every second."""
_HEARTBEAT_SECONDS = 1.0
_OPENING_SECONDS = 4.0
"""How long it is waited for a log of which nothing has been read."""
_RUNS = 100


class ContextClient:
    """The `Context` port over gRPC. Runs are claimed in the name of `owner`.

    A reader of a run that is written here gets what the store has acknowledged without asking it again.
    """

    def __init__(
        self,
        channel: MeshChannel,
        *,
        owner: str,
        claim_seconds: float,
        retries: Retries,
        patience: float = PERSIST_SECONDS,
    ) -> None:
        self._runs = runs_rpc.RunsServiceStub(channel)
        self._threads = threads_rpc.ThreadsServiceStub(channel)
        self._owner = owner
        self._claim_seconds = claim_seconds
        self._retries = retries
        self._patience = patience
        self._appender = Appender(self._runs)
        self._logs = LocalLogs()
        self._foreseen = ForeseenWindows()

    async def ping(self) -> None:
        """Raise `Unavailable` unless context_svc answers."""
        async with translated(PEER):
            await self._threads.ListThreads(threads.ListThreadsRequest(page_size=1), timeout=SECONDS)

    async def start(self, new: NewRun, *, claim: bool = False) -> tuple[Run, bool]:
        """Make a run, claimed on request and if nothing is ahead of it, or find the one of the same key (then True)."""
        request = encode_start(new, owner=self._owner if claim else "")
        async with translated(PEER):
            response = await self._runs.StartRun(request, timeout=SECONDS)
        crash_point("facade.after_start")
        if not response.replayed:
            log = self._logs.expect(response.run.id)
            if response.run.epoch:
                crash_point("run.after_claim")
                log.begin(response.run.next_sequence)
        if response.HasField("window"):
            self._foreseen.add(response.run.id, new.window_tokens, decode_window(response.window))
        return decode_run(response.run), response.replayed

    async def run(self, run_id: str, *, tenant: str | None = None) -> Run:
        """Give a run of a tenant, or of anybody."""
        async with translated(PEER):
            response = await self._runs.GetRun(pb.GetRunRequest(run_id=run_id, tenant=tenant), timeout=SECONDS)
        return decode_run(response.run)

    async def runs(
        self, state: RunState | None, *, thread_id: str = "", after: str, limit: int, tenant: str | None = None
    ) -> tuple[Sequence[Run], str]:
        """Give a page of a tenant's runs in a state, the latest first, and what asks for the next page."""
        request = encode_list(state, thread_id=thread_id, after=after, limit=limit, tenant=tenant)
        async with translated(PEER):
            response = await self._runs.ListRuns(request, timeout=SECONDS)
        return [decode_run(run) for run in response.runs], response.next_page_token

    async def calls(self, run_id: str) -> Sequence[CallRecord]:
        """Give the tool calls of a run in their order."""
        async with translated(PEER):
            response = await self._runs.ListCalls(pb.ListCallsRequest(run_id=run_id), timeout=SECONDS)
        return [decode_call(call) for call in response.calls]

    async def decide(self, run_id: str, call_id: str, verdict: Verdict) -> CallRecord:
        """Take a person's word about a call."""
        request = encode_verdict(run_id, call_id, verdict)
        async with translated(PEER):
            response = await self._runs.ResolveCall(request, timeout=SECONDS)
        return decode_call(response.call)

    async def answer(
        self, run_id: str, call_id: str, answers: Sequence[Answer], *, in_round: int, request_id: str = ""
    ) -> CallRecord:
        """Take a person's answers to a tool's server."""
        request = encode_answers(run_id, call_id, answers, in_round=in_round, request_id=request_id)
        async with translated(PEER):
            response = await self._runs.AnswerCall(request, timeout=SECONDS)
        return decode_call(response.call)

    async def claim(self, run_id: str) -> Run:
        """Become the run's writer, waiting for earlier runs of its thread."""
        log = self._logs.expect(run_id)
        log.claiming = True
        try:
            async with translated(PEER):
                response = await self._runs.ClaimRun(
                    pb.ClaimRunRequest(run_id=run_id, owner=self._owner), timeout=self._claim_seconds
                )
            crash_point("run.after_claim")
            log.begin(response.run.next_sequence)
        except BaseException:
            self._logs.end(run_id)
            raise
        finally:
            log.claiming = False
        return decode_run(response.run)

    async def take_over(self, *, patience: float) -> Run | None:
        """Become the writer of a run whose own writer is gone; None if `patience` seconds bring none."""
        async with translated(PEER):
            response = await self._runs.TakeOverRun(pb.TakeOverRunRequest(owner=self._owner), timeout=patience)
        if not response.HasField("run"):
            return None
        self._logs.expect(response.run.id).begin(response.run.next_sequence)
        return decode_run(response.run)

    async def hand_over(self, run: Run) -> None:
        """Give a run up to whoever takes it over next."""
        self._logs.end(run.id)
        crash_point("drain.before_release")
        async with translated(PEER):
            await self._runs.HandOverRun(pb.HandOverRunRequest(run_id=run.id, epoch=run.epoch), timeout=SECONDS)
        crash_point("drain.after_release")

    async def record(self, run: Run) -> tuple[Sequence[RunEvent], Sequence[CallRecord]]:
        """Give what was written to a run before this process became its writer."""
        events: list[RunEvent] = []
        if run.next_sequence:
            async with aclosing(self._stored(run.id, None, began=True)) as pieces:
                async for piece in pieces:
                    events += piece
                    if events and events[-1].sequence >= run.next_sequence - 1:
                        break
        return events, await self.calls(run.id)

    async def renew(self, run: Run) -> bool:
        """Stay the run's writer; gives whether somebody asked to stop it. A short outage is waited out."""
        request = pb.RenewRunRequest(run_id=run.id, epoch=run.epoch)
        response = await persist(lambda: self._renew(request), seconds=self._patience, budget=self._retries.renewals)
        if log := self._logs.find(run.id):
            log.prove()
        return response.cancel_requested

    async def _renew(self, request: pb.RenewRunRequest) -> pb.RenewRunResponse:
        async with translated(PEER):
            return await self._runs.RenewRun(request, timeout=SECONDS)

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[RunWriter]:
        """Open the way to write to a run."""
        writer = RunWriter(self._runs, self._appender, self._logs, self._retries.writes, seconds=self._patience)
        with self._appender.used():
            try:
                yield writer
            finally:
                writer.close()

    async def watch(self, run_id: str, *, after: int | None = None) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Tail the run's log to its terminal event, from this process as far as it writes the run, else from the store.

        An outage of the service is waited out where the log was left.
        """
        log = self._logs.find(run_id)
        if log:
            tail = log.tail(after=-1 if after is None else after, heartbeat=_HEARTBEAT_SECONDS)
            async with aclosing(tail) as pieces:
                async for events in pieces:
                    yield events
                    if events:
                        after = events[-1].sequence
                        if isinstance(events[-1].body, RunFinished):
                            return
        async with aclosing(self._stored(run_id, after, began=log is not None)) as pieces:
            async for events in pieces:
                yield events

    async def _stored(self, run_id: str, after: int | None, *, began: bool) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Tail the log in the store; whoever has begun to read, or to write, waits longer for it."""
        ended = False
        while not ended:
            seconds = self._patience if began else min(_OPENING_SECONDS, self._patience)
            tail = await persist(partial(self._tail, run_id, after), seconds=seconds, budget=self._retries.reads)
            began = True
            try:
                async with aclosing(tail) as responses:
                    async for response in responses:
                        if response.events:
                            after = response.events[-1].sequence
                            ended = response.events[-1].HasField("run_finished")
                        yield [event for event in map(decode_event, response.events) if event is not None]
                    ended = True
            except Unavailable:
                continue

    async def _tail(self, run_id: str, after: int | None) -> AsyncGenerator[pb.WatchRunResponse, None]:
        """Open a tail of the log; the service has answered when it returns."""
        call = self._runs.WatchRun(pb.WatchRunRequest(run_id=run_id, after_sequence=after))
        responses = translated_stream(call, peer=PEER, silence_seconds=_SILENCE_SECONDS)
        return await begun(responses)

    async def cancel(self, run_id: str) -> None:
        """Ask the run's writer to stop."""
        async with translated(PEER):
            await self._runs.CancelRun(pb.CancelRunRequest(run_id=run_id), timeout=SECONDS)

    async def delete(self, run: Run) -> None:
        """Forget a run that has ended."""
        async with translated(PEER):
            await self._runs.DeleteRun(pb.DeleteRunRequest(run_id=run.id), timeout=SECONDS)

    async def earliest(self, thread_id: str) -> Run | None:
        """Give the run of a thread that was made first."""
        request = pb.ListRunsRequest(thread_id=thread_id, page_size=_RUNS)
        while True:
            async with translated(PEER):
                response = await self._runs.ListRuns(request, timeout=SECONDS)
            if not response.next_page_token:
                return decode_run(response.runs[-1]) if response.runs else None
            request.page_token = response.next_page_token

    async def said_until(self, run: Run) -> Sequence[Said]:
        """Give what was said in a run's thread up to its end."""
        return await said_until(run, runs=self._runs, threads=self._threads)

    async def window(self, run: Run, *, token_budget: int, shorten_input: bool = False) -> Window:
        """Give the newest part of the run's thread that fits."""
        if (foreseen := self._foreseen.take(run.id, token_budget)) and not shorten_input:
            return foreseen
        request = threads.AssembleWindowRequest(
            thread_id=run.thread_id, run_id=run.id, token_budget=max(1, token_budget), shorten_input=shorten_input
        )
        response = await persist(lambda: self._assemble(request), seconds=self._patience, budget=self._retries.reads)
        return decode_window(response)

    async def _assemble(self, request: threads.AssembleWindowRequest) -> threads.AssembleWindowResponse:
        async with translated(PEER):
            return await self._threads.AssembleWindow(request, timeout=SECONDS)
