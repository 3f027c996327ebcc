"""What every store promises about threads and their items."""

import asyncio
from datetime import timedelta

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.delete import delete
from context_svc.domain.item import Item, ItemKind, ItemStatus, NewItem, Provenance, new_item
from context_svc.domain.ports import Cursor, Store
from context_svc.domain.prune import Pruned, prune
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.thread import Thread
from tests.context_svc.given import claimed, finished, queued, result, running, said, started, texts
from threadmesh.conversation import Media, Message, Reasoning, Refusal, Role, Text, ToolCall
from threadmesh.errors import (
    IdempotencyKeyReused,
    RunNotFound,
    ThreadBusy,
    ThreadNotFound,
)
from threadmesh.testing.clock import FakeClock


async def made(store: Store, key: str = "k") -> Thread:
    return (await resolve(key, metadata={}, store=store)).thread


async def added(store: Store, thread: Thread, *items: NewItem, request_id: str = "") -> tuple[Item, ...]:
    appended = await append_items(thread.id, items, request_id=request_id, fingerprint=repr(items), store=store)
    return appended.items


async def listed(store: Store, prefix: str = "", *, limit: int = 100, after: Cursor | None = None) -> list[str]:
    return [thread.key for thread in await store.threads(key_prefix=prefix, after=after, limit=limit)]


# Resolving


async def test_a_key_always_finds_the_same_thread(store: Store) -> None:
    first = await resolve("discord:1:2", metadata={"topic": "fun"}, store=store)
    again = await resolve("discord:1:2", metadata={"topic": "other"}, store=store)

    assert (first.created, again.created) == (True, False)
    assert again.thread == first.thread == await store.thread(first.thread.id)
    assert again.thread.metadata == {"topic": "fun"}


async def test_many_who_ask_for_a_new_key_at_once_get_one_thread(store: Store) -> None:
    results = await asyncio.gather(*(resolve("k", metadata={}, store=store) for _ in range(50)))

    assert len({each.thread.id for each in results}) == 1
    assert [each.created for each in results].count(True) == 1


@pytest.mark.parametrize("key", ["ключ", "a'b\"c;--", "%", "x" * 512, "😀:\n\t"])
async def test_any_text_is_a_key(store: Store, key: str) -> None:
    thread = await made(store, key)

    assert (await made(store, key)).id == thread.id
    assert (await store.thread(thread.id)).key == key


async def test_an_unknown_thread_is_not_found(store: Store) -> None:
    for asked in (
        store.thread("thread_none"),
        delete("thread_none", store=store),
        append_items("thread_none", (said("x"),), request_id="", fingerprint="", store=store),
        read_window("thread_none", budget=0, run_id="", threads=store, runs=store),
    ):
        with pytest.raises(ThreadNotFound):
            await asked
    assert await store.items("thread_none", after=None, limit=1, descending=False) == ()


# Listing threads


async def test_threads_are_listed_with_the_latest_used_first(store: Store, clock: FakeClock) -> None:
    for key in ("a", "b", "c"):
        thread = await made(store, key)
        clock.advance(1)
    await added(store, await made(store, "a"), said("hello"))

    assert await listed(store) == ["a", "c", "b"]
    assert thread.key == "c"


async def test_a_run_makes_its_thread_the_latest_used(store: Store, clock: FakeClock) -> None:
    await made(store, "a")
    clock.advance(1)
    await made(store, "b")
    clock.advance(1)
    await queued(store, "a")

    assert await listed(store) == ["a", "b"]


async def test_a_prefix_is_taken_literally(store: Store) -> None:
    for key in ("a_1", "ab1", "a%2", "A_3", "b", "é1"):
        await made(store, key)

    assert await listed(store, "a_") == ["a_1"]
    assert await listed(store, "a%") == ["a%2"]
    assert await listed(store, "é") == ["é1"]
    assert await listed(store, "*") == []
    assert len(await listed(store, "")) == 6


async def test_pages_of_threads_neither_repeat_nor_miss_any(store: Store, clock: FakeClock) -> None:
    for number in range(11):
        await made(store, f"k{number}")
        clock.advance(number % 2)  # pairs share a moment

    keys: list[str] = []
    after = None
    while page := await store.threads(key_prefix="k", after=after, limit=3):
        keys += [thread.key for thread in page]
        after = Cursor(time=page[-1].update_time, id=page[-1].id)
        await made(store, f"new{len(keys)}")

    assert keys == [key for key in await listed(store) if key.startswith("k")]
    assert len(keys) == 11


async def test_threads_are_listed_from_the_earliest_on_as_well(store: Store, clock: FakeClock) -> None:
    for number in range(11):
        await made(store, f"k{number}")
        await made(store, f"other{number}")
        clock.advance(number % 2)  # pairs share a moment

    for prefix, tenant in (("k", ""), ("", ""), ("k", None), ("", None)):
        keys: list[str] = []
        after = None
        while page := await store.threads(key_prefix=prefix, after=after, limit=3, tenant=tenant, ascending=True):
            keys += [thread.key for thread in page]
            after = Cursor(time=page[-1].update_time, id=page[-1].id)
        assert keys == (await listed(store, prefix))[::-1]
    assert len(keys) == 22


# Items


async def test_items_are_numbered_without_gaps_from_zero(store: Store) -> None:
    thread = await made(store)
    await added(store, thread, said("a"), said("b"))
    items = await added(store, thread, said("c"))

    assert [item.sequence for item in items] == [2]
    assert await texts(store, thread.id) == ["a", "b", "c"]
    assert (await store.thread(thread.id)).item_count == 3


async def test_parallel_appends_all_land_in_some_order(store: Store) -> None:
    thread = await made(store)

    await asyncio.gather(*(added(store, thread, said(f"{each}a"), said(f"{each}b")) for each in range(30)))

    spoken = await texts(store, thread.id)
    assert sorted(spoken) == sorted(f"{each}{half}" for each in range(30) for half in "ab")
    assert all(a[:-1] == b[:-1] for a, b in zip(spoken[::2], spoken[1::2], strict=True))


async def test_appending_twice_with_one_request_id_appends_once(store: Store) -> None:
    """A retried append must not double what was said."""
    thread = await made(store)

    first = await added(store, thread, said("a"), said("b"), request_id="r1")
    await added(store, thread, said("c"))
    again = await added(store, thread, said("a"), said("b"), request_id="r1")

    assert again == first
    assert await texts(store, thread.id) == ["a", "b", "c"]


async def test_a_request_id_belongs_to_one_request_of_one_thread(store: Store, clock: FakeClock) -> None:
    thread, other = await made(store), await made(store, "other")
    await added(store, thread, said("a"), request_id="r1")

    with pytest.raises(IdempotencyKeyReused):
        await added(store, thread, said("b"), request_id="r1")
    assert await added(store, other, said("b"), request_id="r1")
    clock.advance(24 * 3600)
    await added(store, thread, said("b"), request_id="r1")

    assert await texts(store, thread.id) == ["a", "b"]


async def test_a_thread_with_an_open_run_takes_no_items(store: Store, clock: FakeClock) -> None:
    run = await queued(store, "k")
    thread = await made(store)
    with pytest.raises(ThreadBusy):
        await added(store, thread, said("x"))
    run = await claimed(store, clock, run)
    with pytest.raises(ThreadBusy):
        await added(store, thread, said("x"))
    await finished(store, run)

    await added(store, thread, said("x"))

    assert await texts(store, thread.id) == ["hello", "x"]


async def test_items_can_be_read_from_any_place_in_both_directions(store: Store) -> None:
    thread = await made(store)
    await added(store, thread, *(said(str(each)) for each in range(10)))

    async def numbers(*, after: int | None, limit: int = 100, descending: bool = False) -> list[int]:
        items = await store.items(thread.id, after=after, limit=limit, descending=descending)
        return [item.sequence for item in items]

    assert await numbers(after=None, limit=3) == [0, 1, 2]
    assert await numbers(after=0, limit=2) == [1, 2]
    assert await numbers(after=8) == [9]
    assert await numbers(after=9) == []
    assert await numbers(after=None, limit=2, descending=True) == [9, 8]
    assert await numbers(after=8, limit=2, descending=True) == [7, 6]
    assert await numbers(after=1, descending=True) == [0]
    assert await numbers(after=0, descending=True) == []
    assert await numbers(after=1 << 61) == []


async def test_items_are_kept_as_they_were_given(store: Store, clock: FakeClock) -> None:
    """Bytes, nothing, every script, a megabyte."""
    asked = Message(
        role=Role.ASSISTANT,
        parts=(Reasoning(text="hm\0"), Text(text="😀 ключ \u202e\u0007"), Refusal(text="no")),
        tool_calls=(ToolCall(id="c", name="t", arguments_json='{"n": 12345678901234567890, "n": 1e400}'),),
        name="bot",
    )
    seen = Message(role=Role.USER, parts=(Media(mime_type="image/png", data=bytes(range(256))), Text(text="")))
    given = (
        new_item(asked, tokens=7, status=ItemStatus.INCOMPLETE),
        new_item(seen),
        said("x" * (1 << 20)),
        new_item(Message(role=Role.ASSISTANT)),
        new_item(Message(role=Role.SYSTEM, parts=(Text(text="s"),)), kind=ItemKind.SUMMARY),
        new_item(Message(role=Role.USER, parts=(Text(text="u"),)), provenance=Provenance.IMPORTED),
        result("c"),
    )
    thread = await made(store)

    stored = await added(store, thread, *given)

    read = await store.items(thread.id, after=None, limit=10, descending=False)
    assert read == stored
    assert [(i.message, i.kind, i.provenance, i.tokens, i.status) for i in read] == [
        (g.message, g.kind, g.provenance, g.tokens, g.status) for g in given
    ]
    assert {item.create_time for item in read} == {clock.now()}
    assert len({item.id for item in read}) == len(given)


async def test_instructions_are_found_wherever_they_are(store: Store) -> None:
    thread = await made(store)
    await added(store, thread, said("be kind", Role.SYSTEM), said("hello"), said("be brief", Role.DEVELOPER))
    await added(store, thread, said("be kind", Role.SYSTEM), said("be kind", Role.DEVELOPER))
    await added(store, await made(store, "other"), said("not these", Role.SYSTEM))

    found = await store.instructions(thread.id)
    assert [(item.sequence, item.message.text) for item in found] == [(0, "be kind"), (2, "be brief"), (4, "be kind")]


# Forgetting


async def test_deleting_a_thread_leaves_nothing_of_it_and_all_of_others(store: Store, clock: FakeClock) -> None:
    kept = await finished(store, await running(store, clock, "kept"), b"x")
    gone = (await started(store, thread_key="gone", key="a")).run
    gone = await finished(store, await claimed(store, clock, gone), b"x")
    await added(store, await store.thread(gone.thread_id), said("more"), request_id="r1")

    await delete(gone.thread_id, store=store)

    with pytest.raises(ThreadNotFound):
        await store.thread(gone.thread_id)
    with pytest.raises(RunNotFound):
        await store.run(gone.id)
    assert await store.items(gone.thread_id, after=None, limit=10, descending=False) == ()
    assert [run.id for run in await store.runs(thread_id="", states=(), after=None, limit=10)] == [kept.id]
    assert await texts(store, kept.thread_id) == ["hello"]
    assert not (await started(store, thread_key="gone", key="a", fingerprint="two")).replayed
    assert (await made(store, "gone")).id != gone.thread_id


async def test_a_thread_with_an_open_run_is_not_deleted(store: Store, clock: FakeClock) -> None:
    run = await queued(store, "k")
    with pytest.raises(ThreadBusy):
        await delete(run.thread_id, store=store)
    run = await claimed(store, clock, run)
    with pytest.raises(ThreadBusy):
        await delete(run.thread_id, store=store)

    await finished(store, run)
    await delete(run.thread_id, store=store)


async def test_pruning_forgets_the_threads_of_stateless_requests_a_day_after_their_end(
    store: Store, clock: FakeClock
) -> None:
    named = await finished(store, await running(store, clock, "k"))
    old = await finished(store, await running(store, clock))
    clock.advance(3600)
    young = await finished(store, await running(store, clock))
    still_open = await queued(store)
    clock.advance(23 * 3600 + 1)

    pruned = await prune(clock.now(), store=store)

    assert pruned.threads == 1
    with pytest.raises(RunNotFound):
        await store.run(old.id)
    for run in (named, young, still_open):
        assert (await store.run(run.id)).id == run.id


async def test_pruning_forgets_expired_receipts(store: Store, clock: FakeClock) -> None:
    await started(store, thread_key="k", key="a")
    clock.advance(24 * 3600 + 1)
    await started(store, thread_key="k", key="b")

    assert await prune(clock.now(), store=store) == Pruned(threads=0, receipts=1)
    assert (await started(store, thread_key="k", key="b")).replayed


async def test_idle_threads_come_a_page_at_a_time(store: Store, clock: FakeClock) -> None:
    for _ in range(3):
        await finished(store, await running(store, clock))

    idle = await store.idle_threads(before=clock.now() + timedelta(seconds=1), limit=2)

    assert len(idle) == 2


async def test_a_thread_keeps_its_words_apart_from_those_of_others(store: Store) -> None:
    one, two = await made(store, "one"), await made(store, "two")
    await asyncio.gather(added(store, one, said("a")), added(store, two, said("b")), added(store, one, said("a")))

    assert await texts(store, one.id) == ["a", "a"]
    assert await texts(store, two.id) == ["b"]


async def test_a_change_sees_what_its_scope_names(store: Store, clock: FakeClock) -> None:
    first, second = await queued(store, "k"), await queued(store, "k")
    await queued(store, "other")

    def seen(state: State) -> tuple[Change, State]:
        return Change(), state

    by_run = await store.change(Scope(run_id=second.id), seen)
    by_key = await store.change(Scope(thread_key="k"), seen)
    by_id = await store.change(Scope(thread_id=first.thread_id), seen)
    nothing = await store.change(Scope(), seen)

    assert (by_run.run, by_run.open_runs) == (second, (first, second))
    assert by_run.thread == by_key.thread == by_id.thread == await store.thread(first.thread_id)
    assert by_key.open_runs == by_id.open_runs == (first, second)
    assert (nothing.thread, nothing.open_runs, nothing.run, nothing.receipt) == (None, (), None, None)
    assert by_run.now.time == clock.now()
