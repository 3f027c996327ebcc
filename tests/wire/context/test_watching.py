"""Following a run's log, over a real loopback connection: promises in the comments of the protos."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.errors import (
    InvalidArgument,
)

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs

from tests.wire.context.given import SECONDS, appended, finished, running, text, watched, writing


async def test_a_watch_begins_where_it_is_asked_to(runs: "Runs") -> None:
    run = await running(runs)
    await appended(runs, [writing(run, number, text(str(number))) for number in range(10)])
    await finished(runs, run, 10)

    whole = await watched(runs, run)

    assert await watched(runs, run, after=4) == whole[5:]
    assert await watched(runs, run, after=10) == []
    with pytest.raises(InvalidArgument):
        await watched(runs, run, after=11)
    with pytest.raises(InvalidArgument):
        await watched(runs, run, after=2**64 - 1)


async def test_a_watch_follows_the_writer_and_ends_with_the_run(runs: "Runs") -> None:
    run = await running(runs)
    seen: list[int] = []

    async with asyncio.timeout(SECONDS):
        async for response in runs.WatchRun(pb.WatchRunRequest(run_id=run.id), timeout=SECONDS):
            seen += [event.sequence for event in response.events]
            if len(seen) < 5:
                await appended(runs, [writing(run, len(seen), text("x"))] if response.events or not seen else [])
            elif len(seen) == 5:
                await finished(runs, run, 5)

    assert seen == [0, 1, 2, 3, 4, 5]


async def test_a_watch_with_nothing_to_say_sends_signs_of_life(runs: "Runs") -> None:
    run = await running(runs)
    call = runs.WatchRun(pb.WatchRunRequest(run_id=run.id), timeout=SECONDS)

    async with asyncio.timeout(SECONDS):
        responses = aiter(call)
        assert [len((await anext(responses)).events) for _ in range(2)] == [0, 0]
    call.cancel()
