"""What is read of a long thread is enough: the window is that of the whole thread."""

import random

import pytest

from context_svc.adapters.memory_store import MemoryStore
from context_svc.domain.append_items import append_items
from context_svc.domain.assemble import Material, Window, assemble
from context_svc.domain.item import Item, NewItem
from context_svc.domain.pin import pin
from context_svc.domain.ports import Store
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.thread import Thread
from tests.context_svc.given import asking, result, said
from threadmesh.conversation import Role
from threadmesh.errors import ContextLengthExceeded
from threadmesh.testing.clock import FakeClock

BUDGETS = (0, 150, 300, 1000, 2500, 4000, 8000, 12_000)


def written(chance: random.Random, number: int, *, different: int) -> list[NewItem]:
    """A turn with any of what can be in one; of the instructions there are so many different ones."""
    turn = [said(f"q{number}", tokens=chance.randint(1, 30))]
    if chance.random() < 0.5:
        turn.insert(0, said(f"moment {chance.randrange(different)}", Role.SYSTEM, tokens=chance.randint(0, 60)))
    if chance.random() < 0.2:
        turn += [asking("c"), *([result("c")] if chance.random() < 0.7 else [])]
    return [*turn, said(f"a{number}", Role.ASSISTANT, tokens=chance.randint(0, 30))]


async def filled(store: Store, seed: int, *, different: int) -> tuple[Thread, list[Item]]:
    """A thread of 400 turns, six of whose questions are pinned."""
    chance = random.Random(seed)
    thread = (await resolve("k", metadata={}, store=store)).thread
    for number in range(400):
        turn = tuple(written(chance, number, different=different))
        await append_items(thread.id, turn, request_id="", fingerprint="", store=store)
    items = await store.items(thread.id, after=None, limit=10_000, descending=False)
    asked = [item.sequence for item in items if item.message.role is Role.USER]
    for number in chance.sample(asked, 6):
        thread = await pin(thread.id, number, store=store)
    return thread, list(items)


async def read(store: Store, thread: Thread, *, budget: int) -> Window | None:
    try:
        return await read_window(thread.id, budget=budget, run_id="", threads=store, runs=store)
    except ContextLengthExceeded:
        return None


def of_everything(items: list[Item], pinned: tuple[int, ...], *, budget: int) -> Window | None:
    held = [item for item in items if item.sequence in pinned]
    try:
        return assemble(Material(items=items, pinned=held, item_count=len(items)), budget=budget)
    except ContextLengthExceeded:
        return None


@pytest.mark.parametrize("seed", range(20))
async def test_a_window_read_page_by_page_is_that_of_the_whole_thread(seed: int, clock: FakeClock) -> None:
    store = MemoryStore(clock)
    thread, items = await filled(store, seed, different=3)

    for budget in BUDGETS:
        assert await read(store, thread, budget=budget) == of_everything(items, thread.pinned, budget=budget)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("different", [40, 1000])
async def test_a_window_read_page_by_page_holds_the_last_turns_whole(
    seed: int, different: int, clock: FakeClock
) -> None:
    """Of instructions that were not said again lately, others may be in it than in one of the whole thread."""
    store = MemoryStore(clock)
    thread, items = await filled(store, seed, different=different)
    pinned = {items[number].message.text for number in thread.pinned}

    for budget in filter(None, BUDGETS):
        window = await read(store, thread, budget=budget)
        if window is None:
            assert of_everything(items, thread.pinned, budget=budget) is None
            continue
        assert window.tokens <= budget
        turns = [each.text for each in window.messages if each.text.startswith("q") and each.text not in pinned]
        asked = [f"q{number}" for number in range(400) if f"q{number}" not in pinned]
        assert turns == asked[len(asked) - len(turns) :]
        answers = [each.text for each in window.messages if each.text.startswith("a")]
        assert len(answers) >= len(turns)
        assert answers == [f"a{number}" for number in range(400 - len(answers), 400)]
