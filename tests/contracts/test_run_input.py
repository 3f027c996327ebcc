"""What every store promises about the input of runs that wait: it can be read, and is the same once it has entered."""

from dataclasses import replace

import pytest

from context_svc.domain.cancel import cancel
from context_svc.domain.delete import delete
from context_svc.domain.expire import expire
from context_svc.domain.forget_inputs import forget_ended_inputs
from context_svc.domain.item import Item, NewItem, new_item
from context_svc.domain.ports import Store
from context_svc.domain.prune_thread import prune_thread
from context_svc.domain.retention import Rule
from context_svc.domain.run import Multitask, Run
from context_svc.domain.start import StartRequest, start
from tests.context_svc.given import (
    asking,
    at_once,
    claimed,
    finished,
    queued,
    result,
    running,
    said,
    started,
    stored_exactly,
    texts,
)
from threadmesh.conversation import Media, Message, Role, Text
from threadmesh.errors import InvalidArgument
from threadmesh.testing.clock import FakeClock

PICTURE = new_item(Message(role=Role.USER, parts=(Text(text="ünï 🦉"), Media(mime_type="image/png", data=b"\0\xff"))))
SAID = (said("be kind", Role.SYSTEM), asking("c1"), result("c1"), PICTURE)


async def asked(store: Store, *items: NewItem, owner: str = "") -> Run:
    request = StartRequest(input=items, timeout=600.0, thread_key="k", owner=owner)
    return (await start(request, store=store)).run


async def words(store: Store, run: Run) -> list[str]:
    return [item.message.text for item in await store.input(run.id)]


async def own(store: Store, run: Run) -> list[Item]:
    items = await store.items(run.thread_id, after=None, limit=1000, descending=False)
    return [item for item in items if item.run_id == run.id]


async def ended(store: Store, count: int = 1) -> list[Run]:
    """Runs that ended while they waited behind another one."""
    waiting = [await queued(store, "k") for _ in range(count)]
    return [await cancel(run.id, store=store) for run in waiting]


async def test_a_run_without_input_answers_what_was_said_before(store: Store, clock: FakeClock) -> None:
    with pytest.raises(InvalidArgument):
        await asked(store)
    first = await running(store, clock, "k")
    run = await asked(store)
    await finished(store, first, items=(said("one", Role.ASSISTANT),))

    taken = await claimed(store, clock, run)
    ended_run = await finished(store, taken, items=(said("two", Role.ASSISTANT),))

    assert await store.input(run.id) == ()
    assert (ended_run.first_item, ended_run.input_count) == (2, 0)
    assert await texts(store, run.thread_id) == ["hello", "one", "two"]
    assert await stored_exactly(store, "") > 0


async def test_input_that_waits_is_the_same_when_it_stands_in_the_thread(store: Store, clock: FakeClock) -> None:
    first = await running(store, clock, "k")
    run = await asked(store, *SAID)
    clock.advance(1)
    waiting = await store.input(run.id)
    await finished(store, first, items=(said("yes", Role.ASSISTANT),))
    run = await claimed(store, clock, run)

    assert [item.message for item in waiting] == [item.message for item in SAID]
    assert [(item.sequence, item.input_place, item.run_id) for item in waiting] == [(n, n, run.id) for n in range(4)]
    assert {item.thread_id for item in waiting} == {run.thread_id}
    assert await own(store, run) == [replace(item, sequence=run.first_item + item.sequence) for item in waiting]
    assert await store.input(run.id) == ()


async def test_input_that_enters_at_once_has_places_as_well_and_nothing_else_has(store: Store) -> None:
    run = await asked(store, *SAID, owner="facade-1")
    await finished(store, run, items=(said("yes", Role.ASSISTANT),))

    assert [item.input_place for item in await own(store, run)] == [0, 1, 2, 3, None]
    assert await store.input(run.id) == await store.input("run_none") == ()


async def test_input_of_any_length_waits_in_its_order(store: Store) -> None:
    await at_once(store, "k")
    run = await asked(store, *(said(str(number)) for number in range(1200)))

    assert await words(store, run) == [str(number) for number in range(1200)]


@pytest.mark.parametrize("end", ["cancelled", "interrupted", "expired"])
async def test_a_run_that_ends_while_it_waits_keeps_its_input(store: Store, clock: FakeClock, end: str) -> None:
    first = await running(store, clock, "k")
    run = await queued(store, "k", timeout=2.0)
    if end == "cancelled":
        await cancel(run.id, store=store)
    elif end == "interrupted":
        await started(store, thread_key="k", text="no, this", multitask=Multitask.INTERRUPT)
    else:
        clock.advance(2)
        await expire(store)

    assert (await store.run(run.id)).finished
    assert await words(store, run) == ["hello"]
    await finished(store, await store.run(first.id))
    assert await texts(store, run.thread_id) == ["hello"]


async def test_input_that_never_entered_is_found_by_the_end_of_its_run(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")
    early = await ended(store, 2)
    clock.advance(1)
    (late,) = await ended(store)
    elsewhere = await cancel((await queued(store, "other")).id, store=store)
    await queued(store, "k")
    clock.advance(1)

    names = await store.ended_inputs(before=clock.now(), limit=10)
    assert set(names[:2]) == {run.id for run in early}
    assert set(names[2:]) == {late.id, elsewhere.id}
    assert set(await store.ended_inputs(before=clock.now(), limit=2)) == {run.id for run in early}
    assert late.finish_time is not None
    assert set(await store.ended_inputs(before=late.finish_time, limit=10)) == {run.id for run in early}


async def test_input_that_never_entered_is_forgotten_and_its_run_stays(store: Store, clock: FakeClock) -> None:
    first = await running(store, clock, "k")
    runs = await ended(store, 5)
    waiting = await queued(store, "k")
    clock.advance(1)

    assert await forget_ended_inputs(before=clock.now(), store=store) == 5
    assert await forget_ended_inputs(before=clock.now(), store=store) == 0
    assert [await words(store, run) for run in runs] == [[]] * 5
    assert [await store.run(run.id) for run in runs] == runs
    assert await words(store, waiting) == ["hello"]
    await finished(store, first)
    await claimed(store, clock, waiting)
    assert await texts(store, first.thread_id) == ["hello", "hello"]


async def test_input_that_never_entered_counts_until_it_is_forgotten(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")
    await ended(store, 2)
    before = await stored_exactly(store, "")
    clock.advance(1)
    await forget_ended_inputs(before=clock.now(), store=store)

    assert await stored_exactly(store, "") < before - 2 * len("hello")


async def test_pruning_a_thread_on_request_takes_what_never_entered(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")
    runs = await ended(store, 7)
    for _ in range(3):
        runs += await ended(store, 7)
    waiting = await queued(store, "k")
    other = await cancel((await queued(store, "other")).id, store=store)
    limits = Rule(pattern="*", max_items=1)
    await prune_thread(other.thread_id, limits, now=clock.now(), store=store, dry_run=True)
    await prune_thread(waiting.thread_id, limits, now=clock.now(), store=store, dry_run=False)

    assert {word for run in runs for word in await words(store, run)} == set()
    assert await words(store, waiting) == await words(store, other) == ["hello"]


async def test_with_its_thread_goes_input_that_never_entered(store: Store) -> None:
    (run,) = await ended(store)
    await delete(run.thread_id, store=store)

    assert await store.input(run.id) == ()
    assert await store.ended_inputs(before=FakeClock().now().replace(year=2100), limit=10) == ()
    assert await stored_exactly(store, "") == 0
