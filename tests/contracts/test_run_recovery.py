"""What every store promises about runs whose writer is gone."""

import asyncio

import pytest

from context_svc.domain.cancel import cancel
from context_svc.domain.lease import LEASE_SECONDS
from context_svc.domain.ports import Store
from context_svc.domain.run import Run, RunState
from context_svc.domain.take_over import MOST_WRITERS, hand_over, take_over
from tests.context_svc.given import appended, claimed, finished, queued, running, started, texts, whole_log
from threadmesh.errors import RunAlreadyFinished, StaleEpoch
from threadmesh.testing.clock import FakeClock


async def taken(store: Store, clock: FakeClock, *, owner: str = "facade-2", patience: float = 0) -> Run | None:
    return await take_over(owner=owner, patience=patience, store=store, clock=clock)


async def test_a_run_is_taken_over_once_its_lease_has_run_out(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock, "k"), b"a")
    clock.advance(LEASE_SECONDS - 0.1)
    early = await taken(store, clock)
    clock.advance(0.2)
    late = await taken(store, clock)

    assert early is None
    assert late is not None
    assert (late.id, late.owner, late.epoch, late.next_sequence) == (run.id, "facade-2", 2, 1)
    assert await taken(store, clock, owner="facade-3") is None
    with pytest.raises(StaleEpoch):
        await appended(store, run, b"b")
    assert [event.body for event in await whole_log(store, (await finished(store, late, b"c")).id)][:2] == [b"a", b"c"]


async def test_a_run_that_was_handed_over_is_taken_at_once(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    waiting = asyncio.create_task(taken(store, clock, patience=30))
    await asyncio.sleep(0)
    await hand_over(run.id, epoch=run.epoch, store=store)
    async with asyncio.timeout(5):
        after = await waiting

    assert after is not None
    assert (after.id, after.epoch, after.owner) == (run.id, 2, "facade-2")


async def test_a_run_is_not_kept_from_others_by_a_taker_who_has_left(store: Store, clock: FakeClock) -> None:
    for waits in range(6):
        await running(store, clock)
        clock.advance(LEASE_SECONDS)
        leaving = asyncio.create_task(taken(store, clock, owner="impatient"))
        for _ in range(waits):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        if not leaving.cancelled():
            break
        kept = await store.runs(thread_id="", states=(), after=None, limit=10)
        assert "impatient" not in {run.owner for run in kept}


async def test_only_its_writer_hands_a_run_over(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    with pytest.raises(StaleEpoch):
        await hand_over(run.id, epoch=run.epoch + 1, store=store)
    await finished(store, run)
    with pytest.raises(RunAlreadyFinished):
        await hand_over(run.id, epoch=run.epoch, store=store)


async def test_of_many_who_would_take_a_run_over_one_gets_it(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    clock.advance(LEASE_SECONDS)
    takers = await asyncio.gather(*(taken(store, clock, owner=f"facade-{number}") for number in range(8)))

    assert [each.id for each in takers if each] == [run.id]


async def test_a_run_whose_maker_died_before_its_claim_is_answered_by_another(store: Store, clock: FakeClock) -> None:
    run = await queued(store, "k")
    clock.advance(LEASE_SECONDS)
    after = await taken(store, clock)

    assert after is not None
    assert (after.id, after.state, after.epoch) == (run.id, RunState.RUNNING, 1)
    assert await texts(store, run.thread_id) == ["hello"]


async def test_a_waiting_run_without_its_maker_is_kept_until_its_turn(store: Store, clock: FakeClock) -> None:
    first = await running(store, clock, "k")
    second = (await started(store, thread_key="k", text="second")).run
    for _ in range(4):
        clock.advance(LEASE_SECONDS - 0.5)
        first = await appended(store, first, b"still here")
        clock.advance(0.6)
        assert await taken(store, clock) is None
    first = await finished(store, await appended(store, first, b"last"))
    clock.advance(LEASE_SECONDS)
    after = await taken(store, clock)

    assert after is not None
    assert after.id == second.id
    assert await texts(store, second.thread_id) == ["hello", "second"]


async def test_a_run_that_kills_its_writers_is_given_up(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    for _ in range(MOST_WRITERS - 1):
        clock.advance(LEASE_SECONDS)
        assert await taken(store, clock) is not None
    clock.advance(LEASE_SECONDS)

    assert await taken(store, clock) is None
    ended = await store.run(run.id)
    assert ended.state is RunState.FAILED
    assert ended.finished is not None
    assert ended.finished.failure is not None
    assert (ended.finished.failure.reason, ended.finished.failure.retryable) == ("RECOVERY_ATTEMPTS_EXCEEDED", False)
    assert (await claimed(store, clock, await queued(store, "k"))).state is RunState.RUNNING


async def test_a_run_that_was_to_stop_is_not_gone_on_with(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    await cancel(run.id, store=store)
    clock.advance(LEASE_SECONDS)

    assert await taken(store, clock) is None
    assert (await store.run(run.id)).state is RunState.CANCELLED


async def test_a_run_past_its_deadline_is_not_gone_on_with(store: Store, clock: FakeClock) -> None:
    run = await claimed(store, clock, await queued(store, timeout=3.0))
    clock.advance(LEASE_SECONDS)

    assert await taken(store, clock) is None
    assert (await store.run(run.id)).state is RunState.RUNNING
