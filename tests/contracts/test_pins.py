"""What every store promises about pinned items: they are in every window, and retention passes them over."""

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.import_thread import History, ImportedItem, import_thread
from context_svc.domain.item import ItemKind, NewItem, new_item
from context_svc.domain.pin import MOST_PINNED, pin, unpin
from context_svc.domain.ports import DIFFERENT_INSTRUCTIONS, Store
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import sweep
from context_svc.domain.retention import parse_rules
from tests.context_svc.given import asking, result, said
from threadmesh.conversation import Role, message
from threadmesh.errors import InvalidArgument, NotFound, PreconditionFailed, ThreadNotFound
from threadmesh.testing.clock import FakeClock

TURNS = [said(f"q{number}", tokens=10) for number in range(20)]
CALL = (said("time?", tokens=10), asking("a", "b"), result("b"), result("a"), said("noon", Role.ASSISTANT, tokens=10))


async def made(store: Store, *items: NewItem, key: str = "k") -> str:
    thread = (await resolve(key, metadata={}, store=store)).thread
    await append_items(thread.id, items, request_id="", fingerprint="", store=store)
    return thread.id


async def words(store: Store, thread_id: str, *, budget: int) -> list[str]:
    window = await read_window(thread_id, budget=budget, run_id="", threads=store, runs=store)
    return [each.text for each in window.messages]


async def swept(store: Store, clock: FakeClock, rules: str) -> None:
    await sweep(parse_rules(rules), now=clock.now(), after=None, store=store)


async def numbers(store: Store, thread_id: str) -> list[int]:
    return [item.sequence for item in await store.items(thread_id, after=None, limit=1000, descending=False)]


async def test_a_pinned_item_is_in_every_window_until_it_is_unpinned(store: Store) -> None:
    thread_id = await made(store, *TURNS, *TURNS * 10)

    await pin(thread_id, 3, store=store)
    thread = await pin(thread_id, 3, store=store)

    assert thread.pinned == (await store.thread(thread_id)).pinned == (3,)
    assert await words(store, thread_id, budget=30) == ["q3", "q18", "q19"]
    assert (await unpin(thread_id, 3, store=store)).pinned == ()
    assert (await unpin(thread_id, 3, store=store)).pinned == ()
    assert await words(store, thread_id, budget=30) == ["q17", "q18", "q19"]


@pytest.mark.parametrize("place", [21, 22, 23])
async def test_a_tool_call_is_pinned_and_unpinned_with_all_of_its_results(store: Store, place: int) -> None:
    thread_id = await made(store, *TURNS, *CALL, *TURNS * 10)

    assert (await pin(thread_id, place, store=store)).pinned == (21, 22, 23)
    window = await read_window(thread_id, budget=60, run_id="", threads=store, runs=store)
    assert [each.tool_call_id for each in window.messages[:3]] == ["", "a", "b"]
    assert (await unpin(thread_id, place, store=store)).pinned == ()


async def test_items_are_pinned_as_they_are_added(store: Store) -> None:
    kept = new_item(message(Role.USER, "keep"), pinned=True)
    call = new_item(asking("c").message, pinned=True)

    thread_id = await made(store, said("first"), kept, call, result("c"), *TURNS)

    assert (await store.thread(thread_id)).pinned == (1, 2, 3)
    with pytest.raises(InvalidArgument):
        await made(store, call)
    with pytest.raises(PreconditionFailed):
        await made(store, *[kept] * MOST_PINNED)
    assert len(await numbers(store, thread_id)) == 24


async def test_what_cannot_be_pinned_is_refused(store: Store) -> None:
    summary = new_item(message(Role.ASSISTANT, "so far"), kind=ItemKind.SUMMARY)
    thread_id = await made(store, said("q"), asking("c"), summary)

    for sequence, error in [(1, PreconditionFailed), (2, PreconditionFailed), (3, NotFound)]:
        with pytest.raises(error):
            await pin(thread_id, sequence, store=store)
    with pytest.raises(NotFound):
        await unpin(thread_id, 3, store=store)
    with pytest.raises(ThreadNotFound):
        await pin("thread_none", 0, store=store)
    assert (await store.thread(thread_id)).pinned == ()


async def test_retention_passes_pinned_items_over_and_takes_them_when_they_are_unpinned(
    store: Store, clock: FakeClock
) -> None:
    thread_id = await made(store, *TURNS[:3], *CALL, *TURNS[:4])
    await pin(thread_id, 1, store=store)
    await pin(thread_id, 4, store=store)

    await swept(store, clock, "k max_items=2")
    await swept(store, clock, "k max_items=2")

    assert await numbers(store, thread_id) == [1, 4, 5, 6, 10, 11]
    assert await words(store, thread_id, budget=0) == ["q1", "", "noon", "noon", "q2", "q3"]
    await unpin(thread_id, 6, store=store)
    assert await numbers(store, thread_id) == [1, 10, 11]
    await unpin(thread_id, 11, store=store)
    assert await numbers(store, thread_id) == [1, 10, 11]


async def test_an_import_brings_pins_along_and_a_repetition_changes_nothing(store: Store, clock: FakeClock) -> None:
    pinned = new_item(message(Role.USER, "keep"), pinned=True)
    items = tuple(
        ImportedItem(sequence=number, create_time=clock.now(), item=item)
        for number, item in enumerate([said("first"), pinned, said("last")])
    )
    history = History(key="k", metadata={}, create_time=clock.now(), update_time=clock.now(), items=items)

    thread = (await import_thread(history, store=store)).thread
    await unpin(thread.id, 1, store=store)
    again = await import_thread(history, store=store)

    assert thread.pinned == (1,)
    assert (again.added, again.thread.pinned) == (0, ())


async def test_of_too_many_different_instructions_a_window_holds_the_first_and_the_newest(store: Store) -> None:
    moments = [(said(f"moment {n}", Role.SYSTEM, tokens=10), said(f"q{n}", tokens=10)) for n in range(300)]
    thread_id = await made(store, *(item for turn in moments for item in turn))
    few = await made(store, *(item for turn in moments[:DIFFERENT_INSTRUCTIONS] for item in turn), key="few")

    assert [item.sequence for item in await store.instructions(thread_id)] == [0]
    assert len(await store.instructions(few)) == DIFFERENT_INSTRUCTIONS
    assert await words(store, thread_id, budget=60) == ["moment 0", "q297", "moment 298", "q298", "moment 299", "q299"]
