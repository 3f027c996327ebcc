"""Writes to runs: what the runs of this process have to say at one moment goes in one message and one commit."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc

from facade.adapters.call_codec import encode_batch, encode_require_action
from facade.adapters.local_logs import LocalLogs
from facade.adapters.run_codec import encode_run_finished, time_of
from facade.domain.events import RunEvent, RunFinished
from facade.domain.records import Batch, CallRecord, CallState
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as rpc
from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError, Unavailable
from threadmesh.event_codec import decode_failure
from threadmesh.retry import persist
from threadmesh.retry_budget import RetryBudget
from threadmesh.rpc.channel import translated

PEER = "context"
SECONDS = 5.0
"""Limit of one read or write; the store answers in milliseconds or not at all."""
PERSIST_SECONDS = 15.0
"""How long what a run writes is repeated while the service is away. That is longer than the run's lease: a write that
comes when the run is another's is kept out by its epoch.
"""
_PATIENCE_SECONDS = 0.004
_APART_SECONDS = 0.02
_UNUSED_SECONDS = 2.0
"""How long the stream stays open for the next run; a service that stops waits for it."""
_GROUP_WRITES = 64
_GROUP_BYTES = 1 << 20
"""Limits of one message; a larger write goes alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: pb.AppendEventsRequest
    answer: "asyncio.Future[pb.AppendEventsResponse]"


class Appender:
    """Sends the writes of all runs of this process over one stream.

    One message is under way at a time; what gathers meanwhile goes with the next one. An engine's step gives every run
    a token at nearly the same moment, so a message of patient writes waits until every run has one, for a few
    milliseconds at most; and it goes no sooner than `apart` seconds after the last message.
    """

    def __init__(
        self,
        runs: "rpc.RunsServiceAsyncStub",
        *,
        patience: float = _PATIENCE_SECONDS,
        apart: float = _APART_SECONDS,
        unused: float = _UNUSED_SECONDS,
    ) -> None:
        self._runs, self._patience, self._apart, self._unused = runs, patience, apart, unused
        self._sent = 0.0
        self._hurry = asyncio.Event()
        self._stream: grpc.aio.StreamStreamCall[pb.AppendToRunsRequest, pb.AppendToRunsResponse] | None = None
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self._complete = asyncio.Event()
        self._users = 0
        self._leaving: asyncio.TimerHandle | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the stream open until the block ends, and a little longer."""
        self._users += 1
        if self._leaving is not None:
            self._leaving.cancel()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._leaving = asyncio.get_running_loop().call_later(self._unused, self._close)

    async def append(self, request: pb.AppendEventsRequest, *, patient: bool = False) -> pb.AppendEventsResponse:
        """Write durably. Raises what the store refuses, and `Unavailable` when it cannot be reached."""
        answer: asyncio.Future[pb.AppendEventsResponse] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, answer))
        if not patient:
            self._hurry.set()
        if not patient or len(self._waiting) >= self._users:
            self._complete.set()
        if self._sending is None:
            # In a context of its own: the stream belongs to no run, so no run's deadline or ids may go with it.
            self._sending = asyncio.get_running_loop().create_task(self._send_all(), name="appends", context=Context())
        return await answer

    async def _send_all(self) -> None:
        """Send until nothing waits."""
        try:
            while self._waiting:
                await self._gather()
                await self._send(self._next_group())
        finally:
            self._sending = None
            for each in self._waiting:
                each.answer.cancel()
            self._waiting.clear()

    async def _gather(self) -> None:
        """Wait a moment until the message is complete, unless somebody is in a hurry."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # those who are about to write in this turn of the loop come along
        if (early := self._sent + self._apart - loop.time()) > 0:
            await _within(early, self._hurry)
        await _within(self._patience, self._complete)
        self._hurry.clear()
        self._complete.clear()
        self._sent = loop.time()

    def _next_group(self) -> list[_Waiting]:
        count, size = 0, 0
        for each in self._waiting[:_GROUP_WRITES]:
            size += each.request.ByteSize()
            if count and size > _GROUP_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _send(self, group: Sequence[_Waiting]) -> None:
        """Send a group; one that is refused as a whole is sent again one by one, so that only the culprit fails."""
        try:
            outcomes = await self._exchange(pb.AppendToRunsRequest(writes=[each.request for each in group]))
        except MeshError as error:
            if len(group) > 1 and not error.retryable:
                for each in group:
                    await self._send([each])
                return
            for each in group:
                _fail(each.answer, error)
            return
        for each, outcome in zip(group, outcomes, strict=True):
            if outcome.HasField("refused"):
                _fail(each.answer, decode_failure(outcome.refused).error())
            elif not each.answer.done():
                each.answer.set_result(outcome.appended)

    async def _exchange(self, request: pb.AppendToRunsRequest) -> Sequence[pb.AppendOutcome]:
        if self._stream is None:
            self._stream = self._runs.AppendToRuns()
        try:
            async with translated(PEER), asyncio.timeout(SECONDS):
                await self._stream.write(request)
                response = await self._stream.read()
        except (MeshError, TimeoutError, asyncio.InvalidStateError) as error:
            self._close()
            raise error if isinstance(error, MeshError) else Unavailable(peer=PEER) from error
        if not isinstance(response, pb.AppendToRunsResponse) or len(response.outcomes) != len(request.writes):
            self._close()
            raise Unavailable("The context service ended its stream.", peer=PEER)
        return response.outcomes

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


class RunWriter:
    """The `Writer` port; what is acknowledged goes to the run's local log.

    Every write names the event it begins with, so a write whose acknowledgement was lost is repeated without harm.
    """

    def __init__(
        self,
        runs: "rpc.RunsServiceAsyncStub",
        appender: Appender,
        logs: LocalLogs,
        retries: RetryBudget,
        *,
        seconds: float = PERSIST_SECONDS,
    ) -> None:
        self._runs = runs
        self._appender = appender
        self._logs = logs
        self._retries = retries
        self._seconds = seconds
        self._written: set[str] = set()

    async def append(self, batch: Batch) -> bool:
        """Write durably; gives whether somebody asked to stop the run."""
        self._written.add(batch.run_id)
        request = encode_batch(batch)
        _crash("before", batch)
        acknowledged = await persist(
            lambda: self._appender.append(request, patient=batch.patient),
            seconds=self._seconds,
            budget=self._retries,
        )
        _crash("after", batch)
        self._log(batch, batch.events)
        return acknowledged.cancel_requested

    async def require_action(self, batch: Batch, asked: Sequence[CallRecord], *, seconds: float) -> None:
        """Write the last batch before persons are asked about calls, and give the run up."""
        self._written.add(batch.run_id)
        request = encode_require_action(batch, asked, seconds)
        crash_point("run.before_waiting")
        answer = await persist(lambda: self._require_action(request), seconds=self._seconds, budget=self._retries)
        crash_point("run.after_waiting")
        until = time_of(answer.run, "action_expire_time")
        time = until - timedelta(seconds=seconds) if until else None
        self._log(batch, [replace(event, time=time) for event in batch.events])

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        """Write the last batch and the terminal event."""
        self._written.add(batch.run_id)
        request = encode_batch(batch)
        request.finished.CopyFrom(encode_run_finished(finished))
        crash_point("run.before_terminal")
        acknowledged = await persist(
            lambda: self._appender.append(request), seconds=self._seconds, budget=self._retries
        )
        crash_point("run.after_terminal")
        time = time_of(acknowledged, "finish_time")
        self._log(batch, [*batch.events, RunEvent(sequence=0, body=finished, time=time)])

    def close(self) -> None:
        """Send the readers of what was written here to the store."""
        for run_id in self._written:
            self._logs.end(run_id)

    async def _require_action(self, request: pb.RequireActionRequest) -> pb.RequireActionResponse:
        async with translated(PEER):
            return await self._runs.RequireAction(request, timeout=SECONDS)

    def _log(self, batch: Batch, events: Sequence[RunEvent]) -> None:
        if log := self._logs.find(batch.run_id):
            log.extend([_numbered(event, number) for number, event in enumerate(events, start=batch.first_sequence)])


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but not for long."""
    if not event.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _crash(when: str, batch: Batch) -> None:
    crash_point(f"run.{when}_append")
    if any(record.state is CallState.INTENT for record in batch.calls):
        crash_point(f"run.{when}_intent")
    if any(record.state is CallState.INTENT and record.asked is not None for record in batch.calls):
        crash_point(f"run.{when}_answered")
    if any(record.state is CallState.FINISHED for record in batch.calls):
        crash_point(f"run.{when}_result_commit")


def _numbered(event: RunEvent, number: int) -> RunEvent:
    return replace(event, sequence=number)


def _fail(answer: "asyncio.Future[pb.AppendEventsResponse]", error: MeshError) -> None:
    if not answer.done():
        answer.set_exception(error)
