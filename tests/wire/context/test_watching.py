"""Following a run's log, over a real loopback connection: promises in the comments of the protos."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from context_svc.domain.forget_logs import forget_ended_logs
from context_svc.domain.ports import Store
from tests.wire.context.given import SECONDS, SUCCEEDED, appended, finished, running, text, watched, writing
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.errors import Code, EventLogExpired, InvalidArgument
from threadmesh.testing.clock import FakeClock

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs


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


async def test_forgotten_events_are_out_of_range_and_the_terminal_one_is_not(
    runs: "Runs", store: Store, clock: FakeClock
) -> None:
    run = await running(runs)
    await appended(runs, [writing(run, 0, text("a"), text("b"))])
    ended = await finished(runs, run, 2)
    clock.advance(1)
    await forget_ended_logs(before=clock.now(), store=store)

    for after in (None, 0):
        with pytest.raises(EventLogExpired) as caught:
            await watched(runs, run, after=after)
        assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "EVENT_LOG_EXPIRED")
    (terminal,) = await watched(runs, run, after=1)
    assert (terminal.sequence, terminal.run_finished) == (2, SUCCEEDED)
    kept = (await runs.GetRun(pb.GetRunRequest(run_id=run.id), timeout=SECONDS)).run
    assert (kept.finished, kept.first_sequence, kept.next_sequence) == (ended.finished, 2, 3)
