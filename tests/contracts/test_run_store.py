"""What every store promises about runs: once-only starts, the order of a thread, leases."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from context_svc.domain.append_events import append_events
from context_svc.domain.call import Call, CallState
from context_svc.domain.claim import claim, renew
from context_svc.domain.ports import Store
from context_svc.domain.run import Multitask, Run, RunState
from context_svc.domain.start import Started, StartRequest, start
from tests.context_svc.given import (
    SUCCEEDED,
    appended,
    at_once,
    claimed,
    finished,
    queued,
    running,
    said,
    started,
    texts,
    writing,
)
from threadmesh.conversation import Role
from threadmesh.errors import (
    IdempotencyKeyReused,
    Overloaded,
    RunAlreadyFinished,
    StaleEpoch,
    ThreadBusy,
    ThreadChanged,
    ThreadNotFound,
)
from threadmesh.testing.clock import FakeClock

# Starting


async def attempted(store: Store, *, key: str = "a", repetition: bool = False) -> Started:
    request = StartRequest(input=(said("hello"),), timeout=600.0, attempt_key=key, repetition=repetition)
    return await start(request, store=store)


async def test_a_started_run_waits_and_its_input_with_it(store: Store) -> None:
    run = await queued(store, "discord:1:2")

    assert run.state is RunState.QUEUED
    assert await store.run(run.id) == run
    assert await texts(store, run.thread_id) == []


async def test_the_first_claim_moves_the_input_into_the_thread(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    (item,) = await store.items(run.thread_id, after=None, limit=10, descending=False)

    assert (run.state, run.epoch, run.owner) == (RunState.RUNNING, 1, "facade-1")
    assert (item.message, item.run_id, item.sequence) == (said("hello").message, run.id, 0)
    thread = await store.thread(run.thread_id)
    assert (thread.item_count, thread.active_run_id) == (1, run.id)


async def test_a_run_is_claimed_as_it_starts_if_nothing_is_ahead_of_it(store: Store, clock: FakeClock) -> None:
    before = await running(store, clock, "k")
    await finished(store, before)
    run = await at_once(store, "k")

    assert (run.state, run.epoch, run.owner) == (RunState.RUNNING, 1, "facade-1")
    assert await store.run(run.id) == run
    assert (await renew(run.id, epoch=1, store=store)).lease_until >= run.lease_until
    items = await store.items(run.thread_id, after=None, limit=10, descending=False)
    assert [(item.sequence, item.run_id) for item in items] == [(0, before.id), (1, run.id)]
    thread = await store.thread(run.thread_id)
    assert (thread.item_count, thread.active_run_id) == (2, run.id)


async def test_a_run_that_would_be_claimed_as_it_starts_waits_for_those_ahead_of_it(
    store: Store, clock: FakeClock
) -> None:
    ahead = await running(store, clock, "k")
    run = await at_once(store, "k")

    assert (run.state, run.epoch, run.owner) == (RunState.QUEUED, 0, "")
    assert await texts(store, run.thread_id) == ["hello"]
    await finished(store, ahead)
    assert (await claimed(store, clock, run)).epoch == 1
    assert await texts(store, run.thread_id) == ["hello", "hello"]


async def test_a_repeated_start_claims_nothing_anew(store: Store) -> None:
    request = StartRequest(input=(said("hello"),), timeout=600.0, idempotency_key="a", owner="facade-1")
    first = await start(request, store=store)
    again = await start(replace(request, owner="facade-2"), store=store)

    assert again == Started(run=first.run, replayed=True)
    assert (await store.run(first.run.id)).owner == "facade-1"


async def test_a_run_without_a_thread_gets_one_of_its_own_that_is_not_listed(store: Store) -> None:
    run = await queued(store)

    assert (await store.thread(run.thread_id)).ephemeral
    assert await store.threads(key_prefix="", after=None, limit=10) == ()


async def test_an_unknown_thread_has_no_runs_to_start(store: Store) -> None:
    with pytest.raises(ThreadNotFound):
        await started(store, thread_id="thread_none")


async def test_a_repeated_start_finds_the_first_ones_run(store: Store) -> None:
    first = await started(store, thread_key="k", key="a")
    again = await started(store, thread_key="k", key="a")

    assert (first.replayed, again.replayed) == (False, True)
    assert again.run == first.run


async def test_a_repeated_start_finds_the_run_also_after_it_ended(store: Store, clock: FakeClock) -> None:
    first = await started(store, key="a")
    ended = await finished(store, await claimed(store, clock, first.run), b"x")

    assert (await started(store, key="a")).run == ended


async def test_a_key_with_another_request_is_refused(store: Store) -> None:
    await started(store, thread_key="k", key="a", fingerprint="one")

    with pytest.raises(IdempotencyKeyReused):
        await started(store, thread_key="k", key="a", fingerprint="two")

    assert len(await store.runs(thread_id="", states=(), after=None, limit=10)) == 1


async def test_a_key_is_forgotten_after_a_day(store: Store, clock: FakeClock) -> None:
    first = await started(store, thread_key="k", key="a")
    clock.advance(24 * 3600)

    again = await started(store, thread_key="k", key="a", fingerprint="two")

    assert not again.replayed
    assert again.run.id != first.run.id


async def test_an_empty_key_never_matches(store: Store) -> None:
    assert (await started(store, key="")).run.id != (await started(store, key="")).run.id


async def test_a_repetition_without_a_key_finds_the_latest_run(store: Store, clock: FakeClock) -> None:
    first, second = [await attempted(store) for _ in range(2)]
    again = await attempted(store, repetition=True)
    other = await attempted(store, key="b", repetition=True)
    clock.advance(25 * 3600)
    late = await attempted(store, repetition=True)

    assert [each.replayed for each in (first, second, again, other, late)] == [False, False, True, False, False]
    assert first.run.id != second.run.id == again.run.id


async def test_many_equal_starts_at_once_make_one_run(store: Store) -> None:
    """A9: the retries of a hurried client meet each other."""
    results = await asyncio.gather(*(started(store, thread_key="k", key="a") for _ in range(50)))

    assert len({each.run.id for each in results}) == 1
    assert [each.replayed for each in results].count(False) == 1
    assert len(await store.runs(thread_id="", states=(), after=None, limit=100)) == 1


async def test_many_starts_at_once_for_a_new_key_share_one_thread(store: Store) -> None:
    results = await asyncio.gather(*(started(store, thread_key="k") for _ in range(8)))

    assert len({each.run.thread_id for each in results}) == 1
    assert sorted(each.run.number for each in results) == list(range(8))


# A busy thread


async def test_a_run_of_a_number_is_made_only_once(store: Store) -> None:
    first = (await started(store, thread_key="k")).run
    wanted = partial(started, store, thread_id=first.thread_id, number=first.number + 1)

    outcomes = await asyncio.gather(wanted(), wanted(key="i"), wanted(), return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, Started)]
    assert [each.run.number for each in made] == [1]
    assert [type(each) for each in outcomes if each not in made] == [ThreadChanged] * 2

    other = await started(store, thread_key="other", number=0, key="o")
    await started(store, thread_key="other", number=1)
    again = await started(store, thread_key="other", number=0, key="o")
    assert (again.replayed, again.run.id) == (True, other.run.id)


async def test_reject_refuses_a_busy_thread_and_only_that(store: Store) -> None:
    await started(store, thread_key="k", multitask=Multitask.REJECT)

    with pytest.raises(ThreadBusy):
        await started(store, thread_key="k", multitask=Multitask.REJECT)
    await started(store, thread_key="other", multitask=Multitask.REJECT)


async def test_the_ninth_waiting_run_of_a_thread_is_too_much(store: Store, clock: FakeClock) -> None:
    await running(store, clock, "k")
    for _ in range(8):
        await queued(store, "k")

    with pytest.raises(Overloaded):
        await queued(store, "k")


async def test_interrupt_stops_the_active_run_and_ends_the_waiting_ones(store: Store, clock: FakeClock) -> None:
    active = await running(store, clock, "k")
    waiting = await queued(store, "k")

    late = (await started(store, thread_key="k", multitask=Multitask.INTERRUPT)).run

    assert (await store.run(active.id)).cancel_requested
    assert (await store.run(waiting.id)).state is RunState.CANCELLED
    assert (await appended(store, active, b"x")).cancel_requested
    await finished(store, await store.run(active.id))
    assert (await claimed(store, clock, late)).state is RunState.RUNNING


async def test_interrupt_does_not_wait_for_a_writer_that_is_gone(store: Store, clock: FakeClock) -> None:
    active = await running(store, clock, "k")
    clock.advance(6)

    late = (await started(store, thread_key="k", multitask=Multitask.INTERRUPT)).run

    assert (await store.thread(active.thread_id)).active_run_id == ""
    assert (await store.run(active.id)).state is RunState.CANCELLED
    assert (await claimed(store, clock, late)).state is RunState.RUNNING


# Claiming


async def test_runs_of_a_thread_are_claimed_in_the_order_of_their_start(store: Store, clock: FakeClock) -> None:
    first, second = await queued(store, "k"), await queued(store, "k")

    with pytest.raises(ThreadBusy):
        await claimed(store, clock, second)
    first = await claimed(store, clock, first)
    with pytest.raises(ThreadBusy):
        await claimed(store, clock, second)
    await finished(store, first)

    assert (await claimed(store, clock, second)).first_item == 1


async def test_items_of_waiting_runs_never_come_between_those_of_the_active_one(store: Store, clock: FakeClock) -> None:
    first = (await started(store, thread_key="k", text="one")).run
    second = (await started(store, thread_key="k", text="two")).run
    first = await claimed(store, clock, first)
    await finished(store, first, items=(said("answer one", Role.ASSISTANT),))
    await finished(store, await claimed(store, clock, second), items=(said("answer two", Role.ASSISTANT),))

    assert await texts(store, first.thread_id) == ["one", "answer one", "two", "answer two"]


async def test_a_waiting_claim_is_granted_when_the_run_before_it_ends(store: Store, clock: FakeClock) -> None:
    first, second = await running(store, clock, "k"), await queued(store, "k")

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        claiming = tasks.create_task(claim(second.id, owner="f", patience=60, store=store, clock=clock))
        await finished(store, first)

    assert claiming.result().state is RunState.RUNNING


async def test_of_many_claims_at_once_one_is_granted(store: Store, clock: FakeClock) -> None:
    run = await queued(store)

    claims = [claim(run.id, owner=f"f{each}", patience=0, store=store, clock=clock) for each in range(10)]
    results = await asyncio.gather(*claims, return_exceptions=True)

    assert sum(isinstance(each, Run) for each in results) == 1
    assert sum(isinstance(each, ThreadBusy) for each in results) == 9


async def test_fifty_requests_for_one_thread_are_answered_one_after_the_other(store: Store, clock: FakeClock) -> None:
    """A3: runs never overlap, and the thread shows question and answer in turn."""
    active = 0

    async def answer(number: int) -> None:
        nonlocal active
        run = (await started(store, thread_key="k", text=f"q{number}")).run
        run = await claim(run.id, owner="f", patience=60, store=store, clock=clock)
        active += 1
        assert active == 1
        run = await appended(store, run, b"x")
        active -= 1
        await finished(store, run, items=(said(f"a{number}", Role.ASSISTANT),))

    async with asyncio.timeout(60):
        for wave in range(0, 48, 8):
            await asyncio.gather(*(answer(number) for number in range(wave, wave + 8)))

    (thread,) = await store.threads(key_prefix="k", after=None, limit=2)
    spoken = await texts(store, thread.id)
    assert len(spoken) == 96
    assert all(question[1:] == answer[1:] for question, answer in zip(spoken[::2], spoken[1::2], strict=True))


async def test_an_ended_run_cannot_be_claimed(store: Store, clock: FakeClock) -> None:
    run = await finished(store, await running(store, clock))

    with pytest.raises(RunAlreadyFinished):
        await claimed(store, clock, run)


async def test_a_run_with_a_living_writer_cannot_be_claimed(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    clock.advance(4.9)

    with pytest.raises(ThreadBusy):
        await claimed(store, clock, run, owner="facade-2")


@pytest.mark.parametrize("sign", ["append", "renew"])
async def test_every_sign_of_life_extends_the_lease(store: Store, clock: FakeClock, sign: str) -> None:
    run = await running(store, clock)
    clock.advance(4)
    await (appended(store, run, b"x") if sign == "append" else renew(run.id, epoch=run.epoch, store=store))
    clock.advance(4)

    with pytest.raises(ThreadBusy):
        await claimed(store, clock, run, owner="facade-2")


# Taking over


async def test_a_run_whose_lease_ran_out_is_taken_over(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock), b"one")
    clock.advance(5)

    taken = await claimed(store, clock, run, owner="facade-2")

    assert (taken.epoch, taken.owner, taken.next_sequence) == (2, "facade-2", 1)
    await finished(store, taken, items=(said("answer", Role.ASSISTANT),))
    assert await texts(store, run.thread_id) == ["hello", "answer"]
    assert (await store.thread(run.thread_id)).item_count == 2


async def test_a_writer_that_was_taken_over_changes_nothing(store: Store, clock: FakeClock) -> None:
    """A20."""
    old = await running(store, clock)
    clock.advance(5)
    new = await claimed(store, clock, old, owner="facade-2")
    planned = Call(id="c", run_id=old.id, ordinal=0, name="t", arguments_json="{}", state=CallState.INTENT)

    with pytest.raises(StaleEpoch):
        await append_events(writing(old, b"late", items=(said("late"),), calls=(planned,)), store=store)
    with pytest.raises(StaleEpoch):
        await renew(old.id, epoch=old.epoch, store=store)
    with pytest.raises(StaleEpoch):
        await append_events(writing(old, finished=SUCCEEDED), store=store)

    assert await store.run(old.id) == new
    assert (await store.log(old.id, after=-1)).events == ()
    assert await store.calls(old.id) == ()
    assert await texts(store, old.thread_id) == ["hello"]


async def test_a_writer_that_was_taken_over_is_told_so_also_when_it_repeats_itself(
    store: Store, clock: FakeClock
) -> None:
    run = await running(store, clock)
    write = writing(run, b"x")
    await append_events(write, store=store)
    clock.advance(5)
    await claimed(store, clock, run, owner="facade-2")

    with pytest.raises(StaleEpoch):
        await append_events(write, store=store)


async def test_nobody_writes_to_a_run_that_nobody_claimed(store: Store) -> None:
    run = await queued(store)

    with pytest.raises(StaleEpoch):
        await append_events(writing(run, b"x"), store=store)


async def test_a_writer_whose_lease_ran_out_goes_on_while_nobody_took_over(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    clock.advance(20)

    assert (await appended(store, run, b"x")).next_sequence == 1
