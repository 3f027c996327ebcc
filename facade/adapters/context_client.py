"""Threads and runs as context_svc keeps them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

from facade.adapters.run_codec import decode_event, decode_run, encode_batch, encode_items, encode_run_finished
from facade.domain.events import Run, RunEvent, RunFinished
from facade.domain.ports import Batch, NewItem, NewRun, Window
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import runs_service_pb2_grpc as runs_rpc
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1 import threads_service_pb2_grpc as threads_rpc
from threadmesh.codec import decode_message
from threadmesh.errors import Internal
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream

_PEER = "context"
_SECONDS = 5.0
"""Limit of one read or write; the store answers in milliseconds or not at all."""
_SILENCE_SECONDS = 10.0
"""A watched log shows a sign of life every second."""
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
        """Stay the run's writer; gives whether somebody asked to stop it."""
        async with translated(_PEER):
            response = await self._runs.RenewRun(pb.RenewRunRequest(run_id=run.id, epoch=run.epoch), timeout=_SECONDS)
        return response.cancel_requested

    async def append(self, batch: Batch) -> bool:
        """Write durably; gives whether somebody asked to stop the run."""
        async with translated(_PEER):
            call = self._runs.AppendEvents(iter([encode_batch(batch)]), timeout=_SECONDS)
            async for acknowledged in call:
                return acknowledged.cancel_requested
        raise Internal("The context service ended its stream without an acknowledgement.")

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
        async with translated(_PEER):
            await self._runs.FinishRun(request, timeout=_SECONDS)

    async def watch(self, run_id: str, *, after: int | None = None) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Tail the run's log to its terminal event."""
        call = self._runs.WatchRun(pb.WatchRunRequest(run_id=run_id, after_sequence=after))
        async with aclosing(translated_stream(call, peer=_PEER, silence_seconds=_SILENCE_SECONDS)) as responses:
            async for response in responses:
                yield [event for event in map(decode_event, response.events) if event is not None]

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
