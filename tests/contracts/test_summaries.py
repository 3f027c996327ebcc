"""What every store promises about summaries: they stand for what they retell, and only for what is still so."""

from dataclasses import replace

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.append_summary import NewSummary, append_summary
from context_svc.domain.delete import delete
from context_svc.domain.import_thread import History, ImportedItem, import_thread
from context_svc.domain.item import ItemKind, NewItem, Provenance, Span, new_item
from context_svc.domain.ports import Store
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import sweep
from context_svc.domain.retention import parse_rules
from tests.context_svc.given import asking, finished, result, running, said
from threadmesh.conversation import Role, message
from threadmesh.errors import (
    IdempotencyKeyReused,
    InvalidArgument,
    ThreadBusy,
    ThreadChanged,
    ThreadNotFound,
)
from threadmesh.testing.clock import FakeClock

TURNS = [said(f"q{number}", tokens=20) for number in range(10)]
SHORT = NewSummary(text="in short", read=Span(first=0, last=5), tokens=10)


async def made(store: Store, *items: NewItem) -> str:
    thread = (await resolve("k", metadata={}, store=store)).thread
    await append_items(thread.id, items, request_id="", fingerprint="", store=store)
    return thread.id


async def swept(store: Store, clock: FakeClock, rules: str) -> None:
    await sweep(parse_rules(rules), now=clock.now(), after=None, store=store)


async def test_a_summary_is_stored_and_stands_for_what_a_window_leaves_out(store: Store) -> None:
    thread_id = await made(store, said("be kind", Role.SYSTEM, tokens=5), *TURNS)

    item = await append_summary(thread_id, replace(SHORT, read=Span(first=0, last=6)), store=store)
    window = await read_window(thread_id, budget=160, run_id="", threads=store, runs=store)

    assert (item.kind, item.sequence, item.tokens) == (ItemKind.SUMMARY, 11, 10)
    assert item.covers == Span(first=1, last=6)  # it begins with what was said
    assert (await store.items(thread_id, after=10, limit=1, descending=False))[0] == item
    assert (await store.thread(thread_id)).summary == window.summary == 11
    assert window.summary_provenance is item.provenance is Provenance.USER
    assert window.messages[0].text == "be kind"
    assert window.messages[2].text.endswith("in short")
    assert [each.text for each in window.messages][3:] == ["q6", "q7", "q8", "q9"]


async def test_the_newest_summary_stands_for_what_the_earlier_ones_stood_for(store: Store) -> None:
    thread_id = await made(store, *TURNS)
    first = await append_summary(thread_id, SHORT, store=store)

    second = await append_summary(
        thread_id, NewSummary(text="shorter", read=Span(first=6, last=8), previous=first.sequence), store=store
    )

    assert second.covers == Span(first=0, last=8)
    window = await read_window(thread_id, budget=120, run_id="", threads=store, runs=store)
    assert window.summary == second.sequence
    assert not any("\nin short" in each.text for each in window.messages)


@pytest.mark.parametrize(
    ("items", "provenance"),
    [
        ((said("q"), said("a", Role.ASSISTANT)), Provenance.USER),
        ((said("a", Role.ASSISTANT),), Provenance.MODEL),
        ((said("q"), asking("c"), result("c")), Provenance.TOOL),
        ((new_item(message(Role.USER, "q"), provenance=Provenance.IMPORTED), said("q")), Provenance.IMPORTED),
    ],
)
async def test_a_summary_is_as_little_trusted_as_what_it_retells(
    store: Store, items: tuple[NewItem, ...], provenance: Provenance
) -> None:
    """S17, also through the summary of a summary."""
    thread_id = await made(store, *items, said("a", Role.ASSISTANT))
    last = len(items) - 1

    first = await append_summary(thread_id, NewSummary(text="x", read=Span(first=0, last=last)), store=store)
    again = NewSummary(text="x", read=Span(first=last + 1, last=last + 1), previous=first.sequence)
    second = await append_summary(thread_id, again, store=store)

    assert first.provenance is second.provenance is provenance


async def test_a_repeated_request_appends_once_also_when_its_range_is_gone(store: Store, clock: FakeClock) -> None:
    thread_id = await made(store, *TURNS)
    new = replace(SHORT, request_id="r", fingerprint="one")

    first = await append_summary(thread_id, new, store=store)
    await swept(store, clock, "k max_items=2")
    again = await append_summary(thread_id, new, store=store)

    assert again == first
    with pytest.raises(IdempotencyKeyReused):
        await append_summary(thread_id, replace(new, fingerprint="two"), store=store)


async def test_a_thread_that_changed_is_refused(store: Store, clock: FakeClock) -> None:
    thread_id = await made(store, *TURNS)
    await append_summary(thread_id, SHORT, store=store)

    with pytest.raises(ThreadChanged):  # somebody else was faster
        await append_summary(thread_id, SHORT, store=store)
    await swept(store, clock, "k max_items=2")
    with pytest.raises(ThreadChanged):  # a part of the range is gone
        await append_summary(thread_id, NewSummary(text="x", read=Span(first=6, last=9), previous=10), store=store)
    await delete(thread_id, store=store)
    with pytest.raises(ThreadNotFound):
        await append_summary(thread_id, SHORT, store=store)


async def test_items_that_were_added_meanwhile_are_no_reason_to_refuse(store: Store) -> None:
    thread_id = await made(store, *TURNS)
    await made(store, said("new"))

    assert (await append_summary(thread_id, SHORT, store=store)).sequence == 11


async def test_a_summary_waits_for_the_run_that_is_being_answered(store: Store, clock: FakeClock) -> None:
    thread_id = await made(store, *TURNS)
    run = await running(store, clock, "k")

    with pytest.raises(ThreadBusy):
        await append_summary(thread_id, SHORT, store=store)
    await finished(store, run)
    assert (await append_summary(thread_id, SHORT, store=store)).covers == SHORT.read


async def test_a_range_without_items_is_refused(store: Store) -> None:
    thread_id = await made(store, said("be kind", Role.SYSTEM), said("q"))

    for first, last in [(0, 0), (0, 2), (5, 9)]:
        with pytest.raises(InvalidArgument):
            await append_summary(thread_id, NewSummary(text="x", read=Span(first=first, last=last)), store=store)


async def test_retention_can_be_told_to_take_only_what_was_summarized(store: Store, clock: FakeClock) -> None:
    thread_id = await made(store, *TURNS)

    await swept(store, clock, "k max_items=2 only=summarized")
    assert (await store.thread(thread_id)).first_item == 0
    await append_summary(thread_id, SHORT, store=store)
    await swept(store, clock, "k max_items=2 only=summarized")

    left = await store.items(thread_id, after=None, limit=100, descending=False)
    assert [item.sequence for item in left] == [6, 7, 8, 9, 10]
    window = await read_window(thread_id, budget=0, run_id="", threads=store, runs=store)
    assert window.messages[1].text.endswith("in short")
    assert [each.text for each in window.messages[2:]] == ["q6", "q7", "q8", "q9"]


async def test_an_imported_summary_stands_for_the_same_and_is_not_trusted(store: Store, clock: FakeClock) -> None:
    summary = new_item(message(Role.ASSISTANT, "in short"), kind=ItemKind.SUMMARY, covers=Span(first=0, last=8))
    history = History(
        key="k",
        metadata={},
        create_time=clock.now(),
        update_time=clock.now(),
        items=tuple(
            ImportedItem(sequence=number, create_time=clock.now(), item=item)
            for number, item in enumerate([*TURNS, summary])
        ),
    )

    thread = (await import_thread(history, store=store)).thread
    again = await import_thread(history, store=store)

    assert (thread.summary, again.added) == (10, 0)
    (item,) = await store.items(thread.id, after=9, limit=1, descending=False)
    assert (item.covers, item.provenance) == (Span(first=0, last=8), Provenance.IMPORTED)
    window = await read_window(thread.id, budget=160, run_id="", threads=store, runs=store)
    assert "tools and other systems claimed" in window.messages[1].text
