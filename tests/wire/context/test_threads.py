"""Threads and their items, over a real loopback connection: promises in the comments of the protos."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire.context.given import SECONDS, finished, running, said, started, watched
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.errors import (
    ContextLengthExceeded,
    InsufficientQuota,
    InvalidArgument,
    RunNotFound,
    ThreadBusy,
    ThreadChanged,
    ThreadNotFound,
)
from threadmesh.rpc.channel import translated
from threadmesh.testing.clock import FakeClock

if TYPE_CHECKING:
    from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceAsyncStub as Runs
    from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceAsyncStub as Threads


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

    assert (first.items, first.replayed, again.replayed) == (again.items, False, True)
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


async def test_items_are_pinned_on_append_and_later_and_listed_so(threads: "Threads") -> None:
    thread = (await threads.ResolveThread(threads_pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    pinned = said("keep")
    pinned.pinned = True
    request = threads_pb.AppendItemsRequest(thread_id=thread.id, items=[pinned, said("and this"), said("last")])

    added = await threads.AppendItems(request, timeout=SECONDS)
    first = await threads.PinItem(threads_pb.PinItemRequest(thread_id=thread.id, sequence=1), timeout=SECONDS)
    listed = await threads.ListItems(threads_pb.ListItemsRequest(thread_id=thread.id), timeout=SECONDS)
    then = await threads.UnpinItem(threads_pb.UnpinItemRequest(thread_id=thread.id, sequence=0), timeout=SECONDS)

    assert [item.pinned for item in added.items] == [True, False, False]
    assert list(first.thread.pinned) == [0, 1]
    assert [item.pinned for item in listed.items] == [True, True, False]
    assert list(then.thread.pinned) == [1]


async def test_a_summary_is_appended_listed_and_assembled(threads: "Threads") -> None:
    thread = (await threads.ResolveThread(threads_pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    items = [said(f"{number} {'word ' * 60}") for number in range(6)]
    await threads.AppendItems(threads_pb.AppendItemsRequest(thread_id=thread.id, items=items), timeout=SECONDS)
    request = threads_pb.AppendSummaryRequest(
        thread_id=thread.id, items=threads_pb.ItemRange(first=0, last=3), text="numbers", tokens=5, request_id="r"
    )

    first = (await threads.AppendSummary(request, timeout=SECONDS)).item
    again = (await threads.AppendSummary(request, timeout=SECONDS)).item
    window = await threads.AssembleWindow(
        threads_pb.AssembleWindowRequest(thread_id=thread.id, token_budget=400), timeout=SECONDS
    )
    found = await threads.GetThread(threads_pb.GetThreadRequest(thread_id=thread.id), timeout=SECONDS)

    assert again == first
    assert (first.kind, first.covers.first, first.covers.last) == (threads_pb.ITEM_KIND_SUMMARY, 0, 3)
    assert window.summary == found.thread.summary == first.sequence == 6
    assert window.tokens <= 400
    assert window.messages[1].parts[0].text.endswith("numbers")
    request.request_id = "other"
    with pytest.raises(ThreadChanged):
        async with translated("context"):
            await threads.AppendSummary(request, timeout=SECONDS)


async def test_what_is_no_way_to_pin_or_summarize_is_refused(runs: "Runs", threads: "Threads") -> None:
    thread = (await threads.ResolveThread(threads_pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    summary, pinned = said("so far"), said("keep")
    summary.kind, pinned.pinned = threads_pb.ITEM_KIND_SUMMARY, True

    with pytest.raises(InvalidArgument, match="AppendSummary"):
        async with translated("context"):
            request = threads_pb.AppendItemsRequest(thread_id=thread.id, items=[summary])
            await threads.AppendItems(request, timeout=SECONDS)
    with pytest.raises(InvalidArgument, match="PinItem"):
        async with translated("context"):
            await runs.StartRun(pb.StartRunRequest(thread_key="k", input=[pinned]), timeout=SECONDS)
    with pytest.raises(InvalidArgument):
        async with translated("context"):
            backwards = threads_pb.ItemRange(first=3, last=0)
            await threads.AppendSummary(
                threads_pb.AppendSummaryRequest(thread_id=thread.id, items=backwards, text="x"), timeout=SECONDS
            )


async def test_pinned_items_that_do_not_fit_are_an_error_with_a_way_out(threads: "Threads") -> None:
    thread = (await threads.ResolveThread(threads_pb.ResolveThreadRequest(key="k"), timeout=SECONDS)).thread
    pinned = said("word " * 100)
    pinned.pinned = True
    await threads.AppendItems(threads_pb.AppendItemsRequest(thread_id=thread.id, items=[pinned]), timeout=SECONDS)

    with pytest.raises(ContextLengthExceeded, match="unpin some"):
        async with translated("context"):
            await threads.AssembleWindow(
                threads_pb.AssembleWindowRequest(thread_id=thread.id, token_budget=50), timeout=SECONDS
            )


async def test_the_thread_of_one_key_is_listed_alone(threads: "Threads") -> None:
    for key in ("a", "ab"):
        await threads.ResolveThread(threads_pb.ResolveThreadRequest(key=key), timeout=SECONDS)

    for key, found in (("a", ["a"]), ("b", [])):
        page = await threads.ListThreads(threads_pb.ListThreadsRequest(key=key), timeout=SECONDS)
        assert ([thread.key for thread in page.threads], page.next_page_token) == (found, "")


async def test_who_has_stored_enough_is_told_how_much_and_may_make_room(runs: "Runs", threads: "Threads") -> None:
    made = threads_pb.ResolveThreadRequest(key="k", tenant="home")
    thread = (await threads.ResolveThread(made, timeout=SECONDS)).thread
    usage = await threads.GetUsage(threads_pb.GetUsageRequest(tenant="home"), timeout=SECONDS)
    limited: dict[str, Any] = {"tenant": "home", "stored_bytes_limit": usage.stored_bytes}
    start = pb.StartRunRequest(thread_key="k", input=[said("hello")], **limited)
    asked: list[Awaitable[object]] = [
        runs.StartRun(start, timeout=SECONDS),
        threads.CreateThread(threads_pb.CreateThreadRequest(**limited), timeout=SECONDS),
        threads.ResolveThread(threads_pb.ResolveThreadRequest(key="other", **limited), timeout=SECONDS),
        threads.AppendItems(
            threads_pb.AppendItemsRequest(thread_id=thread.id, items=[said("x")], **limited), timeout=SECONDS
        ),
    ]
    for each in asked:
        with pytest.raises(InsufficientQuota) as refused:
            async with translated("context"):
                await each
        assert refused.value.facts == dict.fromkeys(("stored_bytes", "limit_bytes"), str(usage.stored_bytes))
    await threads.DeleteThread(threads_pb.DeleteThreadRequest(thread_id=thread.id, tenant="home"), timeout=SECONDS)

    assert not (await runs.StartRun(start, timeout=SECONDS)).replayed
    assert (await threads.GetUsage(threads_pb.GetUsageRequest(), timeout=SECONDS)).stored_bytes == 0


async def test_a_repetition_with_another_limit_is_the_same_request(threads: "Threads") -> None:
    asked = [
        threads_pb.CreateThreadRequest(request_id="r", tenant="home", stored_bytes_limit=limit) for limit in (0, 1, 2)
    ]
    made = [(await threads.CreateThread(each, timeout=SECONDS)).thread.id for each in asked]

    assert len(set(made)) == 1
