"""What every store promises about forgetting a part of a thread or of a log, and about keeping logs in less room."""

from dataclasses import replace
from datetime import timedelta

import pytest

from context_svc.domain.append_events import append_events
from context_svc.domain.append_items import append_items
from context_svc.domain.call import Call, CallState
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.item import ItemKind, new_item
from context_svc.domain.ports import Store
from context_svc.domain.resolve import resolve
from context_svc.domain.run import Run
from tests.context_svc.given import appended, finished, queued, running, said, texts, whole_log, writing
from threadmesh.conversation import Message, Role, Text
from threadmesh.testing.clock import FakeClock

SUMMARY = new_item(Message(role=Role.ASSISTANT, parts=(Text(text="so far"),)), kind=ItemKind.SUMMARY)


async def conversation(store: Store, key: str = "k") -> str:
    """A thread of ten items: instructions, turns, a summary."""
    thread = (await resolve(key, metadata={}, store=store)).thread
    first = (said("be kind", Role.SYSTEM), said("1"), said("2"), said("be brief", Role.DEVELOPER), SUMMARY)
    items = (*first, *(said(str(number)) for number in range(5, 10)))
    await append_items(thread.id, items, request_id="", fingerprint="", store=store)
    return thread.id


async def pruned(store: Store, thread_id: str, numbers: range) -> None:
    def prune(state: State) -> tuple[Change, None]:
        thread = replace(state.existing_thread(), first_item=numbers.stop)
        return Change(thread=thread, pruned=(numbers,)), None

    await store.change(Scope(thread_id=thread_id), prune)


async def forgotten(store: Store, run: Run) -> None:
    """Forget all events of an ended run but the terminal one."""

    def forget(state: State) -> tuple[Change, None]:
        ended = state.existing_run()
        return Change(runs=(replace(ended, first_sequence=ended.next_sequence - 1),)), None

    await store.change(Scope(run_id=run.id, only_run=True), forget)


# Pruning


async def test_pruned_items_go_and_instructions_and_summaries_stay(store: Store) -> None:
    thread_id, other = await conversation(store), await conversation(store, "other")

    await pruned(store, thread_id, range(7))

    kept = await store.items(thread_id, after=None, limit=100, descending=False)
    assert [item.sequence for item in kept] == [0, 3, 4, 7, 8, 9]
    assert [item.sequence for item in await store.instructions(thread_id)] == [0, 3]
    assert await texts(store, other) == ["be kind", "1", "2", "be brief", "so far", "5", "6", "7", "8", "9"]


async def test_pruning_keeps_to_its_numbers(store: Store) -> None:
    thread_id = await conversation(store)

    await pruned(store, thread_id, range(2, 6))

    kept = await store.items(thread_id, after=None, limit=100, descending=False)
    assert [item.sequence for item in kept] == [0, 1, 3, 4, 6, 7, 8, 9]


async def test_pages_pass_over_pruned_items_in_both_directions(store: Store) -> None:
    thread_id = await conversation(store)
    await pruned(store, thread_id, range(7))

    async def numbers(*, after: int | None, limit: int, descending: bool = False) -> list[int]:
        items = await store.items(thread_id, after=after, limit=limit, descending=descending)
        return [item.sequence for item in items]

    assert await numbers(after=None, limit=2) == [0, 3]
    assert await numbers(after=3, limit=2) == [4, 7]
    assert await numbers(after=5, limit=1) == [7]
    assert await numbers(after=8, limit=3, descending=True) == [7, 4, 3]
    assert await numbers(after=6, limit=2, descending=True) == [4, 3]
    assert await numbers(after=None, limit=1, descending=True) == [9]


async def test_a_number_is_never_used_again(store: Store) -> None:
    thread_id = await conversation(store)
    await pruned(store, thread_id, range(10))

    appended = await append_items(thread_id, (said("new"),), request_id="", fingerprint="", store=store)

    thread = await store.thread(thread_id)
    assert [item.sequence for item in appended.items] == [10]
    assert (thread.first_item, thread.item_count) == (10, 11)


# Forgetting logs


async def test_a_forgotten_log_leaves_the_run_and_its_end(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    call = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.SENT)
    run = await append_events(writing(run, b"a", b"b", calls=(call,)), store=store)
    run = await finished(store, run, b"c")
    other = await finished(store, await running(store, clock, "other"), b"x")

    await forgotten(store, run)

    kept = await store.run(run.id)
    assert kept == replace(run, first_sequence=3)
    assert (await store.log(run.id, after=-1)).events == ()
    assert await store.calls(run.id) == ()
    (terminal,) = await whole_log(store, run.id, after=2)
    assert (terminal.sequence, terminal.body) == (3, run.finished)
    assert await texts(store, run.thread_id) == ["hello"]
    assert len(await whole_log(store, other.id)) == 2


async def test_logs_that_can_be_forgotten_are_found_by_the_end_of_their_runs(store: Store, clock: FakeClock) -> None:
    runs = []
    for number in range(4):
        runs.append(await finished(store, await running(store, clock, f"k{number}"), b"x"))
        clock.advance(1)
    await appended(store, await running(store, clock, "open"), b"x")
    await queued(store)
    await forgotten(store, runs[1])

    found = await store.ended_logs(before=runs[3].finish_time or clock.now(), limit=10)

    assert found == (runs[0].id, runs[2].id)
    assert await store.ended_logs(before=clock.now(), limit=1) == (runs[0].id,)
    assert await store.ended_logs(before=clock.now() - timedelta(hours=1), limit=10) == ()


# Compaction


async def compacted(store: Store, *, limit: int = 3) -> None:
    while await store.compact(limit=limit):
        pass


@pytest.mark.parametrize("size", [0, 10, 100_000])
async def test_a_compacted_log_gives_the_same_events_from_any_place(store: Store, clock: FakeClock, size: int) -> None:
    run = await running(store, clock, "k")
    for number in range(12):
        bodies = [bytes([number, place]) + b"\0\xff" * (size // 2) for place in range(number % 3 + 1)]
        run = await appended(store, run, *bodies, b"")
        clock.advance(0.001)
    run = await finished(store, run, b"last")
    before = [await whole_log(store, run.id, after=after) for after in range(-1, run.next_sequence)]

    await compacted(store)

    assert [await whole_log(store, run.id, after=after) for after in range(-1, run.next_sequence)] == before
    assert await store.run(run.id) == run


async def test_compaction_leaves_open_runs_alone_and_ends(store: Store, clock: FakeClock) -> None:
    ended = [await finished(store, await running(store, clock), b"a", b"b") for _ in range(7)]
    run = await appended(store, await appended(store, await running(store, clock, "k"), b"a"), b"b")

    await compacted(store, limit=2)
    run = await finished(store, await appended(store, run, b"c"), b"d")
    await compacted(store, limit=2)

    assert [event.body for event in await whole_log(store, run.id)][:-1] == [b"a", b"b", b"c", b"d"]
    assert [len(await whole_log(store, each.id)) for each in ended] == [3] * 7


async def test_a_compacted_log_can_be_forgotten(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock, "k"), b"a")
    run = await finished(store, await appended(store, run, b"b"), b"c")
    await compacted(store)

    await forgotten(store, run)
    await compacted(store)

    assert (await store.log(run.id, after=-1)).events == ()
    assert await store.ended_logs(before=clock.now() + timedelta(seconds=1), limit=10) == ()
