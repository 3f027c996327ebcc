"""What every store promises about windows: the newest turns, the instructions, and never the whole of a long thread."""

import pytest

from context_svc.domain.append_items import append_items
from context_svc.domain.item import Item, NewItem
from context_svc.domain.ports import Cursor, Store
from context_svc.domain.read_window import first_window, read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.start import StartRequest, start
from context_svc.domain.thread import Thread
from tests.context_svc.given import claimed, finished, queued, running, said, started
from threadmesh.conversation import Role
from threadmesh.errors import (
    InvalidArgument,
    RunNotFound,
)
from threadmesh.testing.clock import FakeClock


async def made(store: Store, key: str = "k") -> Thread:
    return (await resolve(key, metadata={}, store=store)).thread


async def added(store: Store, thread: Thread, *items: NewItem, request_id: str = "") -> tuple[Item, ...]:
    appended = await append_items(thread.id, items, request_id=request_id, fingerprint=repr(items), store=store)
    return appended.items


async def listed(store: Store, prefix: str = "", *, limit: int = 100, after: Cursor | None = None) -> list[str]:
    return [thread.key for thread in await store.threads(key_prefix=prefix, after=after, limit=limit)]


# Windows


async def test_a_window_holds_the_newest_turns_and_the_instructions(store: Store, clock: FakeClock) -> None:
    thread = await made(store)
    await added(store, thread, said("be kind", Role.SYSTEM, tokens=5))
    for turn in range(300):
        await added(store, thread, said(f"q{turn}", tokens=10), said(f"a{turn}", Role.ASSISTANT, tokens=10))

    window = await read_window(thread.id, budget=65, run_id="", threads=store, runs=store)

    spoken = [each.text for each in window.messages]
    assert spoken == ["be kind", "q297", "a297", "q298", "a298", "q299", "a299"]
    assert (window.tokens, window.omitted_items) == (65, 594)


async def test_a_window_without_a_budget_holds_everything(store: Store) -> None:
    thread = await made(store)
    for turn in range(150):
        await added(store, thread, said(f"q{turn}"), said(f"a{turn}", Role.ASSISTANT))

    window = await read_window(thread.id, budget=0, run_id="", threads=store, runs=store)

    assert len(window.messages) == 300
    assert window.omitted_items == 0


async def test_a_window_never_leaves_out_the_items_of_its_run(store: Store, clock: FakeClock) -> None:
    await finished(store, await running(store, clock, "k"))
    run = await claimed(store, clock, (await started(store, thread_key="k", text="long " * 500)).run)

    window = await read_window(run.thread_id, budget=10, run_id=run.id, threads=store, runs=store)

    assert [each.text for each in window.messages] == ["long " * 500]
    assert window.omitted_items == 1


async def test_a_window_reaches_back_to_the_first_item_of_a_long_run(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    rounds = tuple(said(f"step {each}", Role.ASSISTANT) for each in range(250))
    run = await finished(store, run, items=rounds)

    window = await read_window(run.thread_id, budget=10, run_id=run.id, threads=store, runs=store)

    assert len(window.messages) == 251


async def test_a_window_holds_the_whole_history_that_came_with_its_run(store: Store, clock: FakeClock) -> None:
    history = [said(f"{each}", Role.USER if each % 2 else Role.ASSISTANT, tokens=5) for each in range(250)]
    request = StartRequest(input=(*history, said("now what?")), timeout=60, thread_key="k")
    run = await claimed(store, clock, (await start(request, store=store)).run)

    window = await read_window(run.thread_id, budget=10, run_id=run.id, threads=store, runs=store)

    assert len(window.messages) == 251


async def test_a_long_input_of_a_run_is_shortened_where_that_is_asked_for(store: Store, clock: FakeClock) -> None:
    history = [said(f"{each}", Role.ASSISTANT if each % 2 else Role.USER, tokens=5) for each in range(250)]
    request = StartRequest(input=(*history, said("now what?", tokens=5)), timeout=60, thread_key="k")
    run = await claimed(store, clock, (await start(request, store=store)).run)

    window = await read_window(run.thread_id, budget=19, run_id=run.id, threads=store, runs=store, shorten_input=True)

    assert [each.text for each in window.messages] == ["248", "249", "now what?"]
    assert window.omitted_items == 248


async def test_a_window_is_refused_for_a_run_of_another_thread(store: Store) -> None:
    thread, run = await made(store), await queued(store, "other")

    with pytest.raises(InvalidArgument):
        await read_window(thread.id, budget=0, run_id=run.id, threads=store, runs=store)
    with pytest.raises(RunNotFound):
        await read_window(thread.id, budget=0, run_id="run_none", threads=store, runs=store)


async def test_the_window_of_an_empty_thread_is_empty(store: Store) -> None:
    window = await read_window((await made(store)).id, budget=100, run_id="", threads=store, runs=store)

    assert (window.messages, window.tokens, window.omitted_items) == ((), 0, 0)


@pytest.mark.parametrize("budget", [0, 30, 4_000])
@pytest.mark.parametrize("earlier", [0, 1, 40])
async def test_the_window_that_comes_with_a_start_is_the_one_that_is_read_later(
    store: Store, clock: FakeClock, budget: int, earlier: int
) -> None:
    for turn in range(earlier):
        pair = (said("be kind", Role.SYSTEM, tokens=5), said(f"q{turn}", tokens=10))
        await finished(store, await running(store, clock, "k"), items=pair)
    new = (said("be brief", Role.SYSTEM, tokens=5), said("what?", tokens=10), said("this?", tokens=10))

    begun = await start(StartRequest(input=new, timeout=60, thread_key="k", owner="me"), store=store)
    window = await first_window(begun, budget=budget, threads=store)

    run = begun.run
    assert window == await read_window(run.thread_id, budget=budget, run_id=run.id, threads=store, runs=store)
    assert [each.text for each in window.messages][-2:] == ["what?", "this?"]


async def test_a_run_that_waits_for_its_turn_has_no_window_yet(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")

    begun = await start(StartRequest(input=(said("hi"),), timeout=60, thread_key="k", owner="me"), store=store)

    assert await first_window(begun, budget=0, threads=store) is None
