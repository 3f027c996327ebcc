"""What was said in a thread up to the end of a run, whose input stands there or still waits with the run."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from facade.adapters.run_writer import PEER, SECONDS
from facade.adapters.threads_client import decode_said
from facade.domain.events import Run
from facade.domain.records import Said
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.rpc.channel import translated

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads

_ITEMS = 1000


async def said_until(run: Run, *, runs: "Runs", threads: "Threads") -> Sequence[Said]:
    """Give what `Context.said_until` promises.

    Input that waits is asked for first: where it enters the thread meanwhile it is found there, and counts once.
    """
    waiting = [] if run.epoch else [item async for item in _waiting(run.id, runs)]
    items = [item async for item in _items(run.thread_id, threads)]
    own = [count for count, item in enumerate(items, start=1) if item.run_id == run.id]
    if own or not any(item.run_id == run.id for item in waiting):
        before = sum(item.sequence < run.first_input for item in items) if run.epoch else 0
        return list(map(decode_said, items[: own[-1] if own else before]))
    if run.finished is not None:
        items = [item for item in items if item.create_time.ToDatetime(UTC) <= run.create_time]
    entered = {item.run_id for item in items}
    # An earlier version has not said the places in the input, but the numbers are the same while it waits.
    behind = [replace(decode_said(item), place=item.sequence) for item in waiting if item.run_id not in entered]
    return [*map(decode_said, items), *behind]


async def _waiting(run_id: str, runs: "Runs") -> AsyncGenerator[threads_pb.Item, None]:
    request = pb.ListWaitingInputRequest(run_id=run_id, page_size=_ITEMS)
    while True:
        async with translated(PEER):
            response = await runs.ListWaitingInput(request, timeout=SECONDS)
        for item in response.items:
            yield item
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


async def _items(thread_id: str, threads: "Threads") -> AsyncGenerator[threads_pb.Item, None]:
    request = threads_pb.ListItemsRequest(thread_id=thread_id, page_size=_ITEMS)
    while True:
        async with translated(PEER):
            response = await threads.ListItems(request, timeout=SECONDS)
        for item in response.items:
            yield item
            request.after_sequence = item.sequence
        if not response.has_more:
            return
