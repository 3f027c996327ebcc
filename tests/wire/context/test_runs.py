"""Starting, claiming and stopping runs, over a real loopback connection: promises in the comments of the protos."""

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.app import services
from context_svc.domain.retention import Retention
from context_svc.edge.metrics import EdgeMetrics
from tests.wire.context.given import (
    SECONDS,
    appended,
    claimed,
    finished,
    running,
    said,
    started,
    text,
    watched,
    writing,
)
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.clock import SystemClock
from threadmesh.errors import IdempotencyKeyReused, InvalidArgument, StaleEpoch, ThreadBusy
from threadmesh.rpc.channel import translated
from threadmesh.testing.clock import FakeClock
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads


async def test_a_writer_that_was_taken_over_writes_nothing(runs: "Runs", clock: FakeClock) -> None:
    old = await running(runs)
    clock.advance(5)
    new = await claimed(runs, old)

    with pytest.raises(StaleEpoch):
        await appended(runs, [writing(old, 0, text("late"))])
    with pytest.raises(StaleEpoch):
        async with translated("context"):
            await finished(runs, old, 0)
    await appended(runs, [writing(new, 0, text("in time"))])
    await finished(runs, new, 1)

    assert [event.text_delta.text for event in await watched(runs, new)][:-1] == ["in time"]


async def test_a_claimed_run_knows_the_number_of_the_first_item_that_it_will_say(runs: "Runs") -> None:
    waiting = (await started(runs, thread_key="k")).run
    first = await claimed(runs, waiting)
    request = writing(first, 0, text("hello"))
    request.items.append(said("hello", conversation.ROLE_ASSISTANT))
    await appended(runs, [request])
    await finished(runs, first, 1)

    second = await running(runs, thread_key="k")

    assert (first.first_answer, second.first_answer) == (1, 3)
    assert (first.first_input, second.first_input) == (0, 2)


@pytest.mark.parametrize(("size", "page"), [(1, 1), (2, 2), (600_000, 1)])
async def test_input_that_waits_is_listed_in_pages_and_then_stands_in_the_thread(
    runs: "Runs", threads: "Threads", size: int, page: int
) -> None:
    first = await running(runs, thread_key="k")
    words = [f"{number}" * size for number in range(3)]
    request = pb.StartRunRequest(thread_key="k", input=map(said, words))
    run = (await runs.StartRun(request, timeout=SECONDS)).run

    waiting, asked = await input_of(runs, run, page_size=page if size < 9 else 0)
    await finished(runs, first, 0)
    run = await claimed(runs, run)
    response = await threads.ListItems(
        threads_pb.ListItemsRequest(thread_id=run.thread_id, after_sequence=0), timeout=SECONDS
    )

    assert [item.message.parts[0].text for item in waiting] == words
    assert asked == -(-3 // page)
    assert [(item.sequence, item.input_place) for item in waiting] == [(0, 0), (1, 1), (2, 2)]
    assert [(item.id, item.input_place) for item in response.items] == [
        (item.id, item.input_place) for item in waiting[: len(response.items)]
    ]
    assert await input_of(runs, run) == ([], 1)


async def test_input_of_runs_ahead_is_listed_before_it_page_by_page(runs: "Runs") -> None:
    await running(runs, thread_key="k")
    ahead, run = [
        (await runs.StartRun(pb.StartRunRequest(thread_key="k", input=map(said, words)), timeout=SECONDS)).run
        for words in ("abc", "de")
    ]
    behind = (await started(runs, thread_key="k")).run
    for page_size in (1, 2, 3, 5, 0):
        items, _ = await input_of(runs, run, page_size=page_size)
        assert [(item.run_id, item.sequence) for item in items] == [
            *((ahead.id, place) for place in range(3)),
            *((run.id, place) for place in range(2)),
        ]
    request = pb.ListWaitingInputRequest(run_id=run.id, page_size=2)
    token = (await runs.ListWaitingInput(request, timeout=SECONDS)).next_page_token
    await runs.CancelRun(pb.CancelRunRequest(run_id=ahead.id), timeout=SECONDS)
    request.page_token = token
    rest = (await runs.ListWaitingInput(request, timeout=SECONDS)).items

    assert [(item.run_id, item.sequence) for item in rest] == [(run.id, 0), (run.id, 1)]
    assert len((await input_of(runs, behind))[0]) == 3
    for token in ("x", "1", "1:-1", "1:2:3", "1:" + "9" * 19):
        with pytest.raises(InvalidArgument):
            async with translated("context"):
                await runs.ListWaitingInput(
                    pb.ListWaitingInputRequest(run_id=run.id, page_token=token), timeout=SECONDS
                )


async def input_of(runs: "Runs", run: pb.Run, *, page_size: int = 0) -> tuple[list[threads_pb.Item], int]:
    """Give the input that waits until a run has its turn, and in how many pages it came."""
    items: list[threads_pb.Item] = []
    request = pb.ListWaitingInputRequest(run_id=run.id, page_size=page_size)
    for pages in itertools.count(1):
        response = await runs.ListWaitingInput(request, timeout=SECONDS)
        items += response.items
        if not response.next_page_token:
            return items, pages
        request.page_token = response.next_page_token
    raise AssertionError


async def test_twenty_equal_starts_at_once_make_one_run(runs: "Runs") -> None:
    starts = (started(runs, thread_key="k", idempotency_key="a", fingerprint="f") for _ in range(20))
    answers = await asyncio.gather(*starts)

    assert len({each.run.id for each in answers}) == 1
    assert sum(not each.replayed for each in answers) == 1
    with pytest.raises(IdempotencyKeyReused):
        async with translated("context"):
            await started(runs, thread_key="k", idempotency_key="a", fingerprint="g")


async def test_a_claim_waits_for_its_turn_and_no_longer_than_the_caller(tmp_path: Path) -> None:
    clock = SystemClock()
    async with (
        sqlite_store(tmp_path / "context.db", clock) as store,
        channel_for(*services(store, clock, EdgeMetrics(CollectorRegistry()), Retention())) as opened,
    ):
        runs: Runs = RunsServiceStub(opened)
        first = await running(runs, thread_key="k")
        second = (await started(runs, thread_key="k")).run
        with pytest.raises(ThreadBusy):
            async with translated("context"):
                await claimed(runs, second, seconds=0.5)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(claimed(runs, second))
            await finished(runs, first, 0)

    assert waiting.result().state == pb.RUN_STATE_RUNNING


async def test_a_cancelled_run_tells_its_writer(runs: "Runs") -> None:
    run = await running(runs)

    asked = (await runs.CancelRun(pb.CancelRunRequest(run_id=run.id), timeout=SECONDS)).run
    (ack,) = await appended(runs, [writing(run, 0, text("x"))])
    renewed = await runs.RenewRun(pb.RenewRunRequest(run_id=run.id, epoch=run.epoch), timeout=SECONDS)

    assert asked.state == pb.RUN_STATE_RUNNING
    assert ack.cancel_requested
    assert renewed.cancel_requested
    assert renewed.lease.ToTimedelta().total_seconds() == 5


async def test_calls_are_kept_with_their_results(runs: "Runs") -> None:
    run = await running(runs)
    done = events.CallFinished(
        outcome=events.CALL_OUTCOME_SUCCEEDED,
        parts=[conversation.Part(text="42")],
        structured_json='{"n": 12345678901234567890}',
    )
    done.duration.FromMilliseconds(1500)
    call = pb.Call(
        id="c1", name="time__now", arguments_json='{"tz":"UTC"}', state=pb.CALL_STATE_FINISHED, finished=done, attempt=1
    )
    request = writing(run, 0)
    request.calls.append(call)
    await appended(runs, [request])

    listed = await runs.ListCalls(pb.ListCallsRequest(run_id=run.id), timeout=SECONDS)

    assert list(listed.calls) == [call]
