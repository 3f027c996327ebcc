"""Threads and runs as context_svc keeps them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import partial

import grpc

from facade.adapters.run_codec import decode_event, decode_run, encode_batch, encode_items, encode_run_finished
from facade.domain.events import Run, RunEvent, RunFinished
from facade.domain.ports import Batch, NewItem, NewRun, Window
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as runs_rpc
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1 import threads_service_pb2_grpc as threads_rpc
from threadmesh.codec import decode_message
from threadmesh.errors import MeshError, Unavailable
from threadmesh.retry import persist
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream
from threadmesh.streams import begun

_PEER = "context"
_SECONDS = 5.0
"""Limit of one read or write; the store answers in milliseconds or not at all."""
_SILENCE_SECONDS = 10.0
"""A watched log shows a sign of life every second."""
_PERSIST_SECONDS = 4.0
"""How long a write is repeated while the service is away; the run's lease lasts a little longer."""
_MULTITASK = {
    "enqueue": pb.MULTITASK_ENQUEUE,
    "interrupt": pb.MULTITASK_INTERRUPT,
    "reject": pb.MULTITASK_REJECT,
}


class ContextClient:
    """The `Context` port over gRPC. Runs are claimed in the name of `owner`."""

    def __init__(self, channel: MeshChannel, *, owner: str, claim_seconds: float) -> None:
        self._runs = runs_rpc.RunsServiceStub(channel)
        self._threads = threads_rpc.ThreadsServiceStub(channel)
        self._owner = owner
        self._claim_seconds = claim_seconds

    async def ping(self) -> None:
        """Raise `Unavailable` unless context_svc answers."""
        async with translated(_PEER):
            await self._threads.ListThreads(threads.ListThreadsRequest(page_size=1), timeout=_SECONDS)

    async def start(self, new: NewRun) -> tuple[Run, bool]:
        """Make a run, or find the one of the same idempotency key (then True)."""
        request = pb.StartRunRequest(
            input=encode_items([NewItem(message=message) for message in new.input]),
            parameters_json=new.parameters.to_json(),
            idempotency_key=new.idempotency_key,
            fingerprint=new.fingerprint,
            multitask=_MULTITASK[new.multitask],
        )
        request.timeout.FromTimedelta(timedelta(seconds=new.timeout_seconds))
        if new.thread_id:
            request.thread_id = new.thread_id
        elif new.thread_key:
            request.thread_key = new.thread_key
        async with translated(_PEER):
            response = await self._runs.StartRun(request, timeout=_SECONDS)
        return decode_run(response.run), response.replayed

    async def claim(self, run_id: str) -> Run:
        """Become the run's writer, waiting for earlier runs of its thread."""
        async with translated(_PEER):
            response = await self._runs.ClaimRun(
                pb.ClaimRunRequest(run_id=run_id, owner=self._owner), timeout=self._claim_seconds
            )
        return decode_run(response.run)

    async def renew(self, run: Run) -> bool:
        """Stay the run's writer; gives whether somebody asked to stop it. A short outage is waited out."""
        request = pb.RenewRunRequest(run_id=run.id, epoch=run.epoch)
        return (await persist(lambda: self._renew(request), seconds=_PERSIST_SECONDS)).cancel_requested

    async def _renew(self, request: pb.RenewRunRequest) -> pb.RenewRunResponse:
        async with translated(_PEER):
            return await self._runs.RenewRun(request, timeout=_SECONDS)

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["RunWriter"]:
        """Open the way to write to a run."""
        writer = RunWriter(self._runs)
        try:
            yield writer
        finally:
            writer.close()

    async def watch(self, run_id: str, *, after: int | None = None) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Tail the run's log to its terminal event; an outage of the service is waited out where it was left."""
        ended = False
        while not ended:
            tail = await persist(partial(self._tail, run_id, after), seconds=_PERSIST_SECONDS)
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
        responses = translated_stream(call, peer=_PEER, silence_seconds=_SILENCE_SECONDS)
        return await begun(responses)

    async def cancel(self, run_id: str) -> None:
        """Ask the run's writer to stop."""
        async with translated(_PEER):
            await self._runs.CancelRun(pb.CancelRunRequest(run_id=run_id), timeout=_SECONDS)

    async def window(self, run: Run, *, token_budget: int) -> Window:
        """Give the newest part of the run's thread that fits."""
        request = threads.AssembleWindowRequest(
            thread_id=run.thread_id, run_id=run.id, token_budget=max(1, token_budget)
        )
        async with translated(_PEER):
            response = await self._threads.AssembleWindow(request, timeout=_SECONDS)
        return Window(
            messages=tuple(map(decode_message, response.messages)),
            tokens=response.tokens,
            omitted_items=response.omitted_items,
        )


class RunWriter:
    """The `Writer` port: one stream of writes and acknowledgements, opened again when it breaks.

    Every write names the event it begins with, so a write whose acknowledgement was lost is repeated without harm.
    """

    def __init__(self, runs: "runs_rpc.RunsServiceAsyncStub") -> None:
        self._runs = runs
        self._stream: grpc.aio.StreamStreamCall[pb.AppendEventsRequest, pb.AppendEventsResponse] | None = None

    async def append(self, batch: Batch) -> bool:
        """Write durably; gives whether somebody asked to stop the run."""
        request = encode_batch(batch)
        acknowledged = await persist(lambda: self._append(request), seconds=_PERSIST_SECONDS)
        return acknowledged.cancel_requested

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        """Write the last batch and the terminal event."""
        last = encode_batch(batch)
        request = pb.FinishRunRequest(
            run_id=last.run_id,
            epoch=last.epoch,
            first_sequence=last.first_sequence,
            events=last.events,
            items=last.items,
            finished=encode_run_finished(finished),
        )
        await persist(lambda: self._finish(request), seconds=_PERSIST_SECONDS)

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _append(self, request: pb.AppendEventsRequest) -> pb.AppendEventsResponse:
        if self._stream is None:
            self._stream = self._runs.AppendEvents()
        try:
            async with translated(_PEER), asyncio.timeout(_SECONDS):
                await self._stream.write(request)
                acknowledged = await self._stream.read()
        except (MeshError, TimeoutError, asyncio.InvalidStateError) as error:
            self.close()
            raise error if isinstance(error, MeshError) else Unavailable(peer=_PEER) from error
        if not isinstance(acknowledged, pb.AppendEventsResponse):
            self.close()
            raise Unavailable("The context service ended its stream.", peer=_PEER)
        return acknowledged

    async def _finish(self, request: pb.FinishRunRequest) -> pb.FinishRunResponse:
        async with translated(_PEER):
            return await self._runs.FinishRun(request, timeout=_SECONDS)
