"""What every store makes of a history from elsewhere: its numbers, its dates, and nothing twice."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.import_thread import History, Imported, ImportedItem, import_thread
from context_svc.domain.item import Provenance
from context_svc.domain.ports import Store
from context_svc.domain.read_window import read_window
from context_svc.domain.retain import sweep
from context_svc.domain.retention import parse_rules
from tests.context_svc.given import said
from threadmesh.conversation import Role
from threadmesh.errors import Aborted, InvalidArgument, ThreadDiffers
from threadmesh.testing.clock import FakeClock

BEGAN = datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def history(*numbers: int, words: str = "item", key: str = "k") -> History:
    items = tuple(
        ImportedItem(
            sequence=number, create_time=BEGAN + timedelta(seconds=number % 10**6), item=said(f"{words} {number}")
        )
        for number in numbers
    )
    return History(
        key=key, metadata={"topic": "fun"}, create_time=BEGAN, update_time=BEGAN + timedelta(days=1), items=items
    )


async def numbers(store: Store, imported: Imported) -> list[int]:
    items = await store.items(imported.thread.id, after=None, limit=10_000, descending=False)
    return [item.sequence for item in items]


async def test_items_keep_numbers_and_dates_and_lose_their_origin(store: Store) -> None:
    imported = await import_thread(history(0, 4, 9), store=store)

    thread = await store.thread(imported.thread.id)
    assert thread == imported.thread
    assert (thread.key, thread.metadata, thread.item_count) == ("k", {"topic": "fun"}, 10)
    assert (thread.create_time, thread.update_time) == (BEGAN, BEGAN + timedelta(days=1))
    items = await store.items(thread.id, after=None, limit=10, descending=False)
    assert [(item.sequence, item.create_time, item.message.text) for item in items] == [
        (number, BEGAN + timedelta(seconds=number), f"item {number}") for number in (0, 4, 9)
    ]
    assert {item.provenance for item in items} == {Provenance.IMPORTED}


async def test_numbers_that_are_missing_hinder_nobody(store: Store) -> None:
    imported = await import_thread(history(3, 400), store=store)
    new = await append_items(
        imported.thread.id, (said("a", Role.ASSISTANT),), request_id="", fingerprint="", store=store
    )

    backwards = await store.items(imported.thread.id, after=401, limit=1, descending=True)
    window = await read_window(imported.thread.id, budget=0, run_id="", threads=store, runs=store)

    assert [item.sequence for item in new.items] == [401]
    assert [item.sequence for item in backwards] == [400]
    assert [message.text for message in window.messages] == ["item 3", "item 400", "a"]


async def test_the_highest_numbers_are_kept_apart(store: Store) -> None:
    highest = (1 << 52) - 1
    imported = await import_thread(history(0, highest - 1, highest), store=store)
    await append_items(imported.thread.id, (said("a"),), request_id="", fingerprint="", store=store)

    assert await numbers(store, imported) == [0, highest - 1, highest, highest + 1]
    (last,) = await store.items(imported.thread.id, after=highest, limit=9, descending=False)
    assert last.sequence == highest + 1


async def test_a_repetition_adds_nothing_and_a_longer_history_what_is_new(store: Store) -> None:
    await import_thread(history(0, 1), store=store)
    again = await import_thread(history(0, 1), store=store)
    longer = await import_thread(history(0, 1, 2, 5), store=store)
    many = await import_thread(history(*range(6, 700)), store=store)
    last = await import_thread(history(0, 1, 2, 5, *range(6, 700)), store=store)

    assert [each.added for each in (again, longer, many, last)] == [0, 2, 694, 0]
    assert await numbers(store, last) == [0, 1, 2, *range(5, 700)]


async def test_what_was_pruned_does_not_come_back(store: Store, clock: FakeClock) -> None:
    first = await import_thread(history(*range(10)), store=store)
    await sweep(parse_rules("* max_items=3"), now=clock.now(), after=None, store=store)

    again = await import_thread(history(*range(10)), store=store)

    assert again.added == 0
    assert await numbers(store, first) == [7, 8, 9]


async def test_a_thread_with_another_item_in_the_place_is_left_as_it_is(store: Store) -> None:
    first = await import_thread(history(*range(300)), store=store)

    with pytest.raises(ThreadDiffers) as caught:
        await import_thread(history(*range(299)), store=store)
        await import_thread(history(0, 299, 300, words="other"), store=store)

    assert caught.value.facts == {"key": "k", "sequence": "0"}
    assert await numbers(store, first) == list(range(300))


@pytest.mark.parametrize("given", [(1, 0), (2, 2)])
async def test_items_without_order_are_refused(store: Store, given: tuple[int, int]) -> None:
    with pytest.raises(InvalidArgument):
        await import_thread(history(*given), store=store)

    assert await store.threads(key_prefix="", after=None, limit=10) == ()


async def test_two_imports_at_once_add_everything_once(store: Store) -> None:
    imports = (import_thread(history(*range(50)), store=store) for _ in range(5))
    outcomes = await asyncio.gather(*imports, return_exceptions=True)

    done = [each for each in outcomes if isinstance(each, Imported)]
    assert all(isinstance(each, Imported | Aborted) for each in outcomes)
    assert sum(each.added for each in done) == 50
    assert await numbers(store, done[0]) == list(range(50))
