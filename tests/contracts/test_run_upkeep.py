"""What every store promises about runs that nobody finishes, and about lists, counts and transactions."""

import asyncio
from dataclasses import replace

import pytest

from context_svc.domain.change import Change, Scope, State
from context_svc.domain.claim import renew
from context_svc.domain.expire import expire
from context_svc.domain.ports import Cursor, Store
from context_svc.domain.run import Batch, Run, RunState
from tests.context_svc.given import (
    claimed,
    finished,
    queued,
    running,
    whole_log,
)
from threadmesh.errors import (
    MeshError,
    ThreadBusy,
)
from threadmesh.testing.clock import FakeClock

# Runs that nobody finishes


async def test_a_run_past_its_deadline_fails(store: Store, clock: FakeClock) -> None:
    run = await claimed(store, clock, await queued(store, "k", timeout=2.0))
    clock.advance(2)

    (ended,) = await expire(store)

    assert ended == await store.run(run.id)
    assert ended.finished is not None
    assert ended.finished.failure is not None
    assert (ended.state, ended.finished.failure.reason) == (RunState.FAILED, "DEADLINE_EXCEEDED")
    assert [event.body for event in await whole_log(store, run.id)] == [ended.finished]


async def test_a_run_that_nobody_takes_over_fails_within_ten_seconds(store: Store, clock: FakeClock) -> None:
    run, next_one = await running(store, clock, "k"), await queued(store, "k")
    clock.advance(8.9)
    await claim_in_vain(store, clock, next_one)
    assert await expire(store) == ()
    clock.advance(0.1)

    (ended,) = await expire(store)

    assert ended.id == run.id
    assert ended.finished is not None
    assert ended.finished.failure is not None
    assert ended.finished.failure.reason == "RUN_ABANDONED"
    assert (await claimed(store, clock, next_one)).state is RunState.RUNNING


async def test_a_run_that_its_maker_never_claims_does_not_block_the_thread(store: Store, clock: FakeClock) -> None:
    forgotten, next_one = await queued(store, "k"), await queued(store, "k")
    clock.advance(8.9)
    await claim_in_vain(store, clock, next_one)
    clock.advance(0.1)

    assert (await claimed(store, clock, next_one)).state is RunState.RUNNING
    assert (await store.run(forgotten.id)).state is RunState.FAILED


async def test_a_run_is_not_abandoned_while_somebody_waits_to_claim_it(store: Store, clock: FakeClock) -> None:
    active, waiting = await running(store, clock, "k"), await queued(store, "k")
    for _ in range(20):
        clock.advance(3)
        await renew(active.id, epoch=active.epoch, store=store)
        await claim_in_vain(store, clock, waiting)
        assert await expire(store) == ()

    await finished(store, active)
    assert (await claimed(store, clock, waiting)).state is RunState.RUNNING


async def test_living_runs_never_expire(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    clock.advance(8)
    await renew(run.id, epoch=run.epoch, store=store)
    clock.advance(8)

    assert await expire(store) == ()


async def claim_in_vain(store: Store, clock: FakeClock, run: Run) -> None:
    with pytest.raises(ThreadBusy):
        await claimed(store, clock, run)


# Lists and counts


async def test_runs_are_listed_page_by_page_the_latest_first(store: Store, clock: FakeClock) -> None:
    made = []
    for number in range(7):
        made.append(await queued(store, "k" if number % 2 else ""))
        clock.advance(number % 3)  # some are of the same moment

    listed: list[Run] = []
    after = None
    while page := await store.runs(thread_id="", states=(), after=after, limit=2):
        listed += page
        after = Cursor(time=page[-1].create_time, id=page[-1].id)

    assert listed == sorted(made, key=lambda run: (run.create_time, run.id), reverse=True)


async def test_runs_are_listed_by_thread_and_state(store: Store, clock: FakeClock) -> None:
    one, two = await running(store, clock, "k"), await queued(store, "k")
    other = await queued(store, "other")

    async def names(thread_id: str, *states: RunState) -> set[str]:
        return {run.id for run in await store.runs(thread_id=thread_id, states=states, after=None, limit=10)}

    assert await names(one.thread_id) == {one.id, two.id}
    assert await names("", RunState.QUEUED) == {two.id, other.id}
    assert await names(one.thread_id, RunState.RUNNING, RunState.FAILED) == {one.id}


async def test_a_census_counts_open_runs_and_the_longest_wait(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")
    clock.advance(1)
    await queued(store, "k")
    clock.advance(2)
    await queued(store)
    await finished(store, await running(store, clock))

    census = await store.census()

    assert census.threads == 3
    assert census.open_runs == {RunState.RUNNING: 1, RunState.QUEUED: 2}
    assert census.oldest_queued_seconds == 2.0


# Transactions


async def test_a_change_that_fails_leaves_nothing_behind(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    batch = Batch(run_id=run.id, epoch=1, first_sequence=0, create_time=clock.now(), bodies=(b"x",))

    def refuse(state: State) -> tuple[Change, None]:
        Change(runs=(replace(run, next_sequence=1),), events=batch)
        raise MeshError("no")

    with pytest.raises(MeshError, match="no"):
        await store.change(Scope(run_id=run.id), refuse)

    assert await store.run(run.id) == run


async def test_changes_of_one_thread_happen_one_after_the_other(store: Store, clock: FakeClock) -> None:
    run = await queued(store, "k")

    def counted(state: State) -> tuple[Change, int]:
        thread = state.existing_thread()
        return Change(thread=replace(thread, item_count=thread.item_count + 1)), thread.item_count

    results = await asyncio.gather(*(store.change(Scope(thread_id=run.thread_id), counted) for _ in range(100)))

    assert sorted(results) == list(range(100))


async def test_the_store_says_that_it_can_be_written_to(store: Store) -> None:
    await store.ping()
