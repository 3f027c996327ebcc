"""context_svc over a real loopback connection: the promises in the comments of its protos."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.app import services
from context_svc.domain.ports import Store
from context_svc.edge.metrics import EdgeMetrics
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.clock import SystemClock
from threadmesh.errors import (
    IdempotencyKeyReused,
    InvalidArgument,
    RunAlreadyFinished,
    RunNotFound,
    SequenceMismatch,
    StaleEpoch,
    ThreadBusy,
    ThreadNotFound,
)
from threadmesh.rpc.channel import MeshChannel, translated
from threadmesh.testing.clock import FakeClock
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads

SECONDS = 30.0
SUCCEEDED = pb.RunFinished(state=pb.RUN_STATE_SUCCEEDED, reason=events.FINISH_REASON_STOP)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with sqlite_store(tmp_path / "context.db", clock) as opened:
        yield opened


@pytest.fixture
async def channel(store: Store, clock: FakeClock) -> AsyncIterator[MeshChannel]:
    async with channel_for(*services(store, clock, EdgeMetrics(CollectorRegistry()))) as opened:
        yield opened


@pytest.fixture
def runs(channel: MeshChannel) -> "Runs":
    return RunsServiceStub(channel)


@pytest.fixture
def threads(channel: MeshChannel) -> "Threads":
    return ThreadsServiceStub(channel)


def said(text: str, role: "conversation.Role.ValueType" = conversation.ROLE_USER) -> threads_pb.NewItem:
    return threads_pb.NewItem(message=conversation.Message(role=role, parts=[conversation.Part(text=text)]))


def text(words: str) -> pb.RunEvent:
    return pb.RunEvent(text_delta=events.TextDelta(text=words))


async def started(
    runs: "Runs", *, thread_key: str = "", idempotency_key: str = "", fingerprint: str = ""
) -> pb.StartRunResponse:
    request = pb.StartRunRequest(
        input=[said("hello")],
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        parameters_json='{"model":"small"}',
    )
    if thread_key:
        request.thread_key = thread_key
    return await runs.StartRun(request, timeout=SECONDS)


async def running(runs: "Runs", *, thread_key: str = "") -> pb.Run:
    return await claimed(runs, (await started(runs, thread_key=thread_key)).run)


async def claimed(runs: "Runs", run: pb.Run, *, seconds: float = SECONDS) -> pb.Run:
    request = pb.ClaimRunRequest(run_id=run.id, owner="facade-1")
    return (await runs.ClaimRun(request, timeout=seconds)).run


def writing(run: pb.Run, first: int, *written: pb.RunEvent) -> pb.AppendEventsRequest:
    return pb.AppendEventsRequest(run_id=run.id, epoch=run.epoch, first_sequence=first, events=written)


async def appended(runs: "Runs", requests: Iterable[pb.AppendEventsRequest]) -> list[pb.AppendEventsResponse]:
    async with translated("context"):
        return [each async for each in runs.AppendEvents(iter(requests), timeout=SECONDS)]


async def finished(runs: "Runs", run: pb.Run, first: int) -> pb.Run:
    request = pb.FinishRunRequest(run_id=run.id, epoch=run.epoch, first_sequence=first, finished=SUCCEEDED)
    return (await runs.FinishRun(request, timeout=SECONDS)).run


async def watched(runs: "Runs", run: pb.Run, after: int | None = None) -> list[pb.RunEvent]:
    async with translated("context"):
        call = runs.WatchRun(pb.WatchRunRequest(run_id=run.id, after_sequence=after), timeout=SECONDS)
        return [event async for response in call for event in response.events]


async def test_a_turn_is_written_and_read_back(runs: "Runs", threads: "Threads", clock: FakeClock) -> None:
    run = await running(runs, thread_key="discord:1:2")
    started_event = pb.RunEvent(model_started=pb.ModelStarted(model="small", seed=7))
    acks = await appended(runs, [writing(run, 0, started_event, text("Hel")), writing(run, 2, text("lo"))])
    clock.advance(1)
    answer = said("Hello", conversation.ROLE_ASSISTANT)
    request = pb.FinishRunRequest(run_id=run.id, epoch=run.epoch, first_sequence=3, items=[answer], finished=SUCCEEDED)
    ended = (await runs.FinishRun(request, timeout=SECONDS)).run

    assert [ack.next_sequence for ack in acks] == [2, 3]
    log = await watched(runs, run)
    assert [event.sequence for event in log] == [0, 1, 2, 3]
    assert [event.WhichOneof("event") for event in log] == [
        "model_started", "text_delta", "text_delta", "run_finished",
    ]  # fmt: skip
    assert log[0].model_started.seed == 7
    assert (log[3].create_time.ToSeconds() - log[0].create_time.ToSeconds()) == 1
    assert log[3].run_finished == ended.finished == SUCCEEDED
    assert (ended.state, ended.next_sequence, ended.owner) == (pb.RUN_STATE_SUCCEEDED, 4, "")
    assert ended.parameters_json == '{"model":"small"}'
    listed = await threads.ListItems(threads_pb.ListItemsRequest(thread_id=run.thread_id), timeout=SECONDS)
    assert [item.message.parts[0].text for item in listed.items] == ["hello", "Hello"]
    assert [item.provenance for item in listed.items] == [threads_pb.PROVENANCE_USER, threads_pb.PROVENANCE_MODEL]
    assert not listed.has_more


async def test_appends_are_acknowledged_in_order_while_the_stream_is_open(runs: "Runs") -> None:
    run = await running(runs)

    async with asyncio.timeout(SECONDS):
        call = runs.AppendEvents(timeout=SECONDS)
        for number in range(20):
            await call.write(writing(run, number, text(str(number))))
            ack = await call.read()
            assert isinstance(ack, pb.AppendEventsResponse)
            assert (ack.run_id, ack.next_sequence, ack.cancel_requested) == (run.id, number + 1, False)
        await call.done_writing()


async def test_a_repeated_append_is_acknowledged_as_the_first_one_was(runs: "Runs") -> None:
    run = await running(runs)
    request = writing(run, 0, text("once"))
    request.items.append(said("once"))

    (first,) = await appended(runs, [request])
    (again,) = await appended(runs, [request])
    await finished(runs, run, 1)

    assert again == first
    assert len(await watched(runs, run)) == 2


async def test_an_append_with_a_wrong_number_is_told_the_right_one(runs: "Runs") -> None:
    run = await running(runs)

    with pytest.raises(SequenceMismatch) as caught:
        await appended(runs, [writing(run, 0, text("a")), writing(run, 5, text("b"))])

    assert caught.value.facts["expected"] == "1"


async def test_a_refused_write_harms_no_other_of_its_request(runs: "Runs") -> None:
    mine, yours = await running(runs), await running(runs)
    stale = writing(yours, 0, text("late"))
    stale.epoch += 1
    ending = writing(yours, 0, pb.RunEvent(run_finished=SUCCEEDED))
    sent = [
        pb.AppendToRunsRequest(writes=[writing(mine, 0, text("a")), stale, ending]),
        pb.AppendToRunsRequest(writes=[writing(yours, 0, text("b"))]),
    ]

    answers = [each async for each in runs.AppendToRuns(iter(sent), timeout=SECONDS)]

    first, second, third = answers[0].outcomes
    assert first.appended == pb.AppendEventsResponse(run_id=mine.id, next_sequence=1)
    assert (second.refused.reason, second.refused.metadata["epoch"]) == (StaleEpoch.reason, "1")
    assert third.refused.reason == InvalidArgument.reason
    assert answers[1].outcomes[0].appended.next_sequence == 1


async def test_only_finish_run_ends_a_log(runs: "Runs") -> None:
    run = await running(runs)

    with pytest.raises(InvalidArgument) as caught:
        await appended(runs, [writing(run, 0, text("a"), pb.RunEvent(run_finished=SUCCEEDED))])

    assert caught.value.field == "events[1]"


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
        channel_for(*services(store, clock, EdgeMetrics(CollectorRegistry()))) as opened,
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


async def test_threads_and_runs_are_listed_page_by_page(runs: "Runs", threads: "Threads", clock: FakeClock) -> None:
    for number in range(5):
        await started(runs, thread_key=f"bot:{number}")
        clock.advance(1)

    keys, token = [], ""
    while True:
        request = threads_pb.ListThreadsRequest(key_prefix="bot:", page_size=2, page_token=token)
        page = await threads.ListThreads(request, timeout=SECONDS)
        keys += [thread.key for thread in page.threads]
        if not (token := page.next_page_token):
            break
    first = await runs.ListRuns(pb.ListRunsRequest(page_size=3), timeout=SECONDS)
    rest = await runs.ListRuns(pb.ListRunsRequest(page_size=3, page_token=first.next_page_token), timeout=SECONDS)

    assert keys == [f"bot:{number}" for number in (4, 3, 2, 1, 0)]
    assert (len(first.runs), len(rest.runs), rest.next_page_token) == (3, 2, "")
    for nonsense in ("nonsense", "AAAA", "é", "OTk5OTk5OTk5OTk5OTk5OTk5OTk6eA=="):
        with pytest.raises(InvalidArgument) as caught:
            async with translated("context"):
                await threads.ListThreads(threads_pb.ListThreadsRequest(page_token=nonsense), timeout=SECONDS)
        assert caught.value.field == "page_token"


async def test_items_can_be_appended_without_a_run_and_assembled(threads: "Threads") -> None:
    thread = (await threads.ResolveThread(threads_pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    request = threads_pb.AppendItemsRequest(
        thread_id=thread.id,
        items=[said("be kind", conversation.ROLE_SYSTEM), said("hello"), said("hi", conversation.ROLE_ASSISTANT)],
        request_id="r1",
    )
    first = await threads.AppendItems(request, timeout=SECONDS)
    again = await threads.AppendItems(request, timeout=SECONDS)

    window = await threads.AssembleWindow(
        threads_pb.AssembleWindowRequest(thread_id=thread.id, token_budget=10), timeout=SECONDS
    )

    assert first == again
    assert [message.parts[0].text for message in window.messages] == ["be kind"]
    assert window.omitted_items == 2


async def test_a_deleted_thread_is_not_found(runs: "Runs", threads: "Threads") -> None:
    run = await running(runs, thread_key="k")
    request = threads_pb.DeleteThreadRequest(thread_id=run.thread_id)
    with pytest.raises(ThreadBusy):
        async with translated("context"):
            await threads.DeleteThread(request, timeout=SECONDS)
    await finished(runs, run, 0)

    await threads.DeleteThread(request, timeout=SECONDS)

    with pytest.raises(ThreadNotFound):
        async with translated("context"):
            await threads.GetThread(threads_pb.GetThreadRequest(thread_id=run.thread_id), timeout=SECONDS)
    with pytest.raises(RunNotFound):
        await watched(runs, run)


async def test_an_ended_run_refuses_writes(runs: "Runs") -> None:
    run = await running(runs)
    await finished(runs, run, 0)

    with pytest.raises(RunAlreadyFinished):
        await appended(runs, [writing(run, 1, text("late"))])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.StartRunRequest(), "input"),
        (pb.StartRunRequest(input=[threads_pb.NewItem()]), "input[0].message"),
        (pb.StartRunRequest(input=[said("x")], thread_key="a\0b"), "thread_key"),
        (pb.StartRunRequest(input=[said("x")], idempotency_key="a" * 256), "idempotency_key"),
    ],
)
async def test_bad_input_names_the_field_and_makes_nothing(
    runs: "Runs", request_: pb.StartRunRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        async with translated("context"):
            await runs.StartRun(request_, timeout=SECONDS)

    assert caught.value.facts.get("field") == field
    assert not (await runs.ListRuns(pb.ListRunsRequest(), timeout=SECONDS)).runs
