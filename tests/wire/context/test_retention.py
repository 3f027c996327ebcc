"""Importing and pruning threads, over a real loopback connection: promises in the comments of the protos."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from context_svc.app import services
from context_svc.domain.ports import Store
from context_svc.domain.retention import Retention, parse_rules
from context_svc.edge.metrics import EdgeMetrics
from tests.wire.context.given import SECONDS, running, said
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.errors import InvalidArgument, PreconditionFailed, ThreadBusy, ThreadDiffers
from threadmesh.rpc.channel import MeshChannel, translated
from threadmesh.testing.clock import FakeClock
from threadmesh.testing.loopback import channel_for

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads

BEGAN, ENDED = Timestamp(seconds=1_700_000_000, nanos=5_000), Timestamp(seconds=1_700_000_100)


@pytest.fixture
async def pruning(store: Store, clock: FakeClock) -> AsyncIterator["Threads"]:
    """The threads of a unit with a rule."""
    retention = Retention(rules=parse_rules("k* max_items=1"))
    async with channel_for(*services(store, clock, EdgeMetrics(CollectorRegistry()), retention)) as channel:
        yield ThreadsServiceStub(channel)


def history(*numbers: int, key: str = "k", words: str = "item") -> pb.ImportThreadRequest:
    return pb.ImportThreadRequest(
        key=key,
        metadata={"topic": "fun"},
        create_time=BEGAN,
        update_time=ENDED,
        items=[
            pb.ImportedItem(sequence=number, create_time=BEGAN, item=said(f"{words} {number}")) for number in numbers
        ],
    )


async def imported(threads: "Threads", request: pb.ImportThreadRequest) -> pb.ImportThreadResponse:
    async with translated("context"):
        return await threads.ImportThread(request, timeout=SECONDS)


async def listed(threads: "Threads", thread_id: str) -> list[pb.Item]:
    return list((await threads.ListItems(pb.ListItemsRequest(thread_id=thread_id), timeout=SECONDS)).items)


async def test_imported_items_keep_their_numbers_and_dates(threads: "Threads") -> None:
    first = await imported(threads, history(0, 3))
    second = await imported(threads, history(3, 7))

    thread = second.thread
    assert (first.added, second.added, thread.item_count, thread.metadata["topic"]) == (2, 1, 8, "fun")
    assert (thread.create_time, thread.update_time) == (BEGAN, ENDED)
    items = await listed(threads, thread.id)
    assert [(item.sequence, item.create_time) for item in items] == [(0, BEGAN), (3, BEGAN), (7, BEGAN)]
    assert {item.provenance for item in items} == {pb.PROVENANCE_IMPORTED}


async def test_other_items_in_the_same_place_are_refused_whole(threads: "Threads") -> None:
    thread = (await imported(threads, history(0, 1))).thread

    with pytest.raises(ThreadDiffers) as caught:
        await imported(threads, history(1, 2, words="other"))

    assert caught.value.facts["sequence"] == "1"
    assert len(await listed(threads, thread.id)) == 2


async def test_a_thread_with_an_open_run_takes_no_history(threads: "Threads", channel: MeshChannel) -> None:
    runs: Runs = RunsServiceStub(channel)
    await running(runs, thread_key="k")

    with pytest.raises(ThreadBusy):
        await imported(threads, history(5))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (history(1, 1), "items"),
        (history(2, 1), "items"),
        (history(1 << 52), "items[0].sequence"),
        (history(0, key="a\0b"), "key"),
        (pb.ImportThreadRequest(key="k", update_time=ENDED), "create_time"),
    ],
)
async def test_a_wrong_history_names_the_field(
    threads: "Threads", request_: pb.ImportThreadRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await imported(threads, request_)

    assert caught.value.facts["field"] == field


async def test_pruning_says_what_went_and_a_dry_run_what_would_go(pruning: "Threads") -> None:
    thread = (await imported(pruning, history(0, 1, 2))).thread
    await imported(pruning, history(0, 1, key="other"))

    dry = await pruning.PruneThreads(pb.PruneThreadsRequest(dry_run=True), timeout=SECONDS)
    before = await listed(pruning, thread.id)
    real = await pruning.PruneThreads(pb.PruneThreadsRequest(), timeout=SECONDS)

    assert list(dry.threads) == [pb.PrunedThread(thread_id=thread.id, key="k", pattern="k*", items=2)]
    assert (real, len(before)) == (dry, 3)
    assert [item.sequence for item in await listed(pruning, thread.id)] == [2]
    window = await pruning.AssembleWindow(pb.AssembleWindowRequest(thread_id=thread.id), timeout=SECONDS)
    assert ([message.parts[0].text for message in window.messages], window.omitted_items) == (["item 2"], 2)


async def test_pruning_is_refused_where_there_are_no_rules(threads: "Threads") -> None:
    with pytest.raises(PreconditionFailed):
        async with translated("context"):
            await threads.PruneThreads(pb.PruneThreadsRequest(), timeout=SECONDS)


async def test_a_page_of_large_items_is_cut_to_what_a_message_carries(threads: "Threads") -> None:
    thread = (await threads.ResolveThread(pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    for number in range(6):
        request = pb.AppendItemsRequest(thread_id=thread.id, items=[said(str(number) * 1_000_000)])
        await threads.AppendItems(request, timeout=SECONDS)

    numbers: list[int] = []
    listing = pb.ListItemsRequest(thread_id=thread.id, page_size=1000)
    while True:
        page = await threads.ListItems(listing, timeout=SECONDS)
        numbers += [item.sequence for item in page.items]
        if not page.has_more:
            break
        listing.after_sequence = numbers[-1]

    assert numbers == list(range(6))


async def test_the_rule_of_a_thread_is_told(pruning: "Threads", threads: "Threads") -> None:
    found = [await imported(pruning, history(0, key=key)) for key in ("k1", "other")]
    asked = [pb.GetRetentionRequest(thread_id=each.thread.id) for each in found]
    ruled, free = [await pruning.GetRetention(request, timeout=SECONDS) for request in asked]

    assert (ruled.rule.pattern, ruled.rule.limits) == ("k*", pb.RetentionLimits(max_items=1))
    assert not free.HasField("rule")
    assert not (await threads.GetRetention(asked[0], timeout=SECONDS)).HasField("rule")


async def test_the_beginning_of_one_thread_is_removed_on_request(threads: "Threads") -> None:
    mine, other = [(await imported(threads, history(0, 1, 2, key=key))).thread.id for key in ("a", "b")]
    request = pb.PruneThreadRequest(thread_id=mine, limits=pb.RetentionLimits(max_items=1), dry_run=True)

    foreseen = await threads.PruneThread(request, timeout=SECONDS)
    assert len(await listed(threads, mine)) == 3
    request.dry_run = False
    removed = await threads.PruneThread(request, timeout=SECONDS)

    assert (foreseen.items, removed.items) == (2, 2)
    assert [item.sequence for item in await listed(threads, mine)] == [2]
    assert len(await listed(threads, other)) == 3


@pytest.mark.parametrize(
    "limits",
    [
        pb.RetentionLimits(),
        pb.RetentionLimits(only_summarized=True),
        pb.RetentionLimits(max_idle=Duration(seconds=1)),
        pb.RetentionLimits(max_items=0),
        pb.RetentionLimits(max_age=Duration(seconds=1 << 37)),
    ],
)
async def test_limits_that_say_nothing_or_too_much_are_refused(threads: "Threads", limits: pb.RetentionLimits) -> None:
    thread = (await imported(threads, history(0, 1))).thread.id

    with pytest.raises(InvalidArgument) as refused:
        async with translated("context"):
            await threads.PruneThread(pb.PruneThreadRequest(thread_id=thread, limits=limits), timeout=SECONDS)
    assert refused.value.facts["field"].startswith("limits")
    assert len(await listed(threads, thread)) == 2
