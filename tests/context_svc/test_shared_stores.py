"""What several processes over one store can get wrong, for every store that they can share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

import pytest

from context_svc.domain.append_events import append_to_runs
from context_svc.domain.append_items import append_items
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.claim import claim
from context_svc.domain.delete import delete
from context_svc.domain.forget_logs import forget_logs
from context_svc.domain.ports import HANDED_OVER, Store
from context_svc.domain.resolve import resolve
from context_svc.domain.run import Run
from context_svc.domain.take_over import hand_over, take_over
from tests.context_svc.given import (
    FakeTime,
    GivenTime,
    appended,
    claimed,
    finished,
    new_prefix,
    patient_postgres,
    patient_redis,
    postgres_server,
    queued,
    running,
    said,
    started,
    stored_exactly,
    texts,
    valkey_server,
    writing,
)
from threadmesh.errors import StaleEpoch
from threadmesh.testing.clock import FakeClock

SECONDS = 30.0

Open = Callable[[], AbstractAsyncContextManager[Store]]


def on_postgres(clock: FakeClock) -> Open:
    return partial(patient_postgres, postgres_server().url(), FakeTime(clock))


def on_redis(clock: FakeClock) -> Open:
    return partial(patient_redis, valkey_server().url, GivenTime(clock), prefix=new_prefix())


SHARED = {"postgres": on_postgres, "redis": on_redis}


@pytest.fixture(params=SHARED)
async def stores(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[list[Store]]:
    """One store as two processes have it."""
    opened = SHARED[request.param](clock)
    async with opened() as one, opened() as other:
        yield [one, other]


def one_more(state: State) -> tuple[Change, int]:
    """Count in a thread; gives the count before."""
    thread = state.existing_thread()
    return Change(thread=replace(thread, run_count=thread.run_count + 1)), thread.run_count


async def test_twenty_equal_starts_over_two_processes_make_one_run(stores: list[Store]) -> None:
    results = await asyncio.gather(*(started(store, thread_key="k", key="a") for store in stores for _ in range(10)))

    assert len({each.run.id for each in results}) == 1
    assert [each.replayed for each in results].count(False) == 1


async def test_no_update_of_two_processes_is_lost(stores: list[Store]) -> None:
    thread = (await resolve("k", metadata={}, store=stores[0])).thread

    async def count(by: Store) -> list[int]:
        return [await by.change(Scope(thread_id=thread.id), one_more) for _ in range(50)]

    counts = await asyncio.gather(*(count(store) for store in stores * 2))

    assert sorted(number for each in counts for number in each) == list(range(200))


async def test_updates_that_come_at_once_from_two_processes_are_all_made(stores: list[Store]) -> None:
    thread = (await resolve("k", metadata={}, store=stores[0])).thread

    results = await asyncio.gather(
        *(store.change(Scope(thread_id=thread.id), one_more) for _ in range(50) for store in stores)
    )

    assert sorted(results) == list(range(100))


async def test_items_of_two_processes_are_numbered_without_gaps(stores: list[Store]) -> None:
    thread = (await resolve("k", metadata={}, store=stores[0])).thread

    async def add(by: Store, name: str) -> None:
        for number in range(20):
            item = said(f"{name}{number}")
            await append_items(thread.id, (item,), request_id="", fingerprint="", store=by)

    await asyncio.gather(add(stores[0], "a"), add(stores[1], "b"))

    spoken = await texts(stores[0], thread.id)
    for name in "ab":
        assert [text for text in spoken if text[0] == name] == [f"{name}{number}" for number in range(20)]
    assert len(spoken) == 40


async def test_a_new_key_asked_for_by_two_processes_names_one_thread(stores: list[Store]) -> None:
    resolved = await asyncio.gather(*(resolve("k", metadata={}, store=store) for _ in range(10) for store in stores))

    assert len({each.thread.id for each in resolved}) == 1
    assert [each.created for each in resolved].count(True) == 1


async def test_groups_of_writes_that_cross_each_other_all_succeed(stores: list[Store], clock: FakeClock) -> None:
    """F29: whatever the order of the writes."""
    threads = [(await resolve(f"k{number}", metadata={}, store=stores[0])).thread for number in range(4)]

    forwards = [(Scope(thread_id=thread.id), one_more) for thread in threads]
    await asyncio.gather(
        *(store.change_each(wanted) for _ in range(10) for store in stores for wanted in (forwards, forwards[::-1]))
    )

    assert [(await stores[0].thread(thread.id)).run_count for thread in threads] == [40, 40, 40, 40]


async def test_a_writer_is_fenced_by_a_claim_of_another_process(stores: list[Store], clock: FakeClock) -> None:
    one, other = stores
    run = await appended(one, await running(one, clock, "k"), b"a")
    clock.advance(5)
    taken = await claimed(other, clock, run, owner="facade-2")

    with pytest.raises(StaleEpoch):
        await appended(one, run, b"late")
    assert (await appended(other, taken, b"b")).next_sequence == 2


# Hints


async def test_a_change_of_one_process_wakes_followers_of_the_other(stores: list[Store], clock: FakeClock) -> None:
    run = await running(stores[0], clock, "k")
    async with asyncio.timeout(SECONDS):
        with stores[1].changes(run.id) as changes:
            await changes.wait(0)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(changes.wait(2 * SECONDS))
                await appended(stores[0], run, b"a")

        assert (await stores[1].run(run.id)).next_sequence == 1


async def test_a_claim_is_granted_when_the_run_before_it_ends_in_another_process(
    stores: list[Store], clock: FakeClock
) -> None:
    first, second = await running(stores[0], clock, "k"), await queued(stores[0], "k")
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        claiming = tasks.create_task(claim(second.id, owner="f", patience=60, store=stores[1], clock=clock))
        await finished(stores[0], first)

    assert claiming.result().epoch == 1


# Another writer


async def test_a_run_that_one_process_hands_over_is_taken_by_another_at_once(
    stores: list[Store], clock: FakeClock
) -> None:
    run = await running(stores[0], clock, "k")
    with stores[1].changes(HANDED_OVER) as changes:
        await hand_over(run.id, epoch=run.epoch, store=stores[0])
        async with asyncio.timeout(SECONDS):
            await changes.wait(2 * SECONDS)
        taken = await take_over(owner="facade-2", patience=0, store=stores[1], clock=clock)

    assert taken is not None
    assert (taken.id, taken.owner, taken.epoch) == (run.id, "facade-2", run.epoch + 1)


async def test_a_run_whose_writer_is_gone_is_taken_by_one_of_those_who_want_it(
    stores: list[Store], clock: FakeClock
) -> None:
    """A19: not before its lease has run out, and by nobody twice; the log goes on where it ended."""
    run = await appended(stores[0], await running(stores[0], clock, "k"), b"a")

    async def wanted() -> list[str]:
        asked = [
            take_over(owner=f"facade-{place}-{number}", patience=0, store=store, clock=clock)
            for place, store in enumerate(stores)
            for number in range(5)
        ]
        return [taken.owner for taken in await asyncio.gather(*asked) if taken]

    assert await wanted() == []
    clock.advance(5)
    (owner,) = await wanted()

    taken = await stores[1].run(run.id)
    assert (taken.owner, taken.epoch) == (owner, run.epoch + 1)
    for store in stores:
        with pytest.raises(StaleEpoch):
            await appended(store, run, b"late")
    await finished(stores[1], taken, b"b")
    assert [event.body for event in (await stores[0].log(run.id, after=-1)).events][:2] == [b"a", b"b"]


async def test_what_two_processes_write_at_once_is_counted_exactly(stores: list[Store], clock: FakeClock) -> None:
    """Each writes to threads of its own, in batches whose orders are opposite, and all of them are one tenant's."""

    async def write(by: Store, name: str) -> None:
        runs = [await running(by, clock, f"{name}{number}") for number in range(12)]
        for _ in range(20):
            writes = [writing(run, b"event", items=(said("more"),)) for run in runs]
            after = await append_to_runs(writes, store=by)
            runs = [each for each in after if isinstance(each, Run)]
        ended = [await finished(by, run, b"last") for run in runs]
        await forget_logs([run.id for run in ended[:6]], store=by)
        await delete(ended[-1].thread_id, store=by)

    await asyncio.gather(*(write(store, name) for store, name in zip(stores * 2, "abcd", strict=True)))

    assert len(await stores[0].threads(key_prefix="", after=None, limit=99)) == 4 * 11
    assert await stored_exactly(stores[1], "") == await stores[0].stored("") > 0


async def test_logs_are_forgotten_by_one_process_while_their_threads_are_deleted_by_another(
    stores: list[Store], clock: FakeClock
) -> None:
    one, other = stores
    for _ in range(8):
        runs = [await finished(one, await running(one, clock, f"k{number}"), b"log") for number in range(5)]
        await asyncio.gather(
            forget_logs([run.id for run in runs], store=one),
            *(delete(run.thread_id, store=other) for run in runs),
        )

        assert await one.stored("") == 0
