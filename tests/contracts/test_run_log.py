"""What every store promises about the log of a run: fenced writes, one end, the same story every time it is told."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from context_svc.domain.append_events import append_events, append_to_runs
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.claim import renew
from context_svc.domain.ports import Store
from context_svc.domain.run import Run, RunFinished, RunState
from context_svc.domain.watch import watch
from tests.context_svc.given import (
    SUCCEEDED,
    appended,
    claimed,
    finished,
    queued,
    running,
    said,
    texts,
    whole_log,
    writing,
)
from threadmesh.conversation import CallFinished, CallOutcome, Role, Text
from threadmesh.errors import (
    InvalidArgument,
    RunAlreadyFinished,
    RunNotFound,
    SequenceMismatch,
    StaleEpoch,
)
from threadmesh.testing.clock import FakeClock

# Appending


async def test_a_write_commits_events_items_and_calls_together(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    call = Call(id="c1", run_id=run.id, ordinal=0, name="time__now", arguments_json="{}", state=CallState.INTENT)

    run = await append_events(writing(run, b"a", b"b", items=(said("asking"),), calls=(call,)), store=store)

    assert run.next_sequence == 2
    log = await store.log(run.id, after=-1)
    assert [(event.sequence, event.body) for event in log.events] == [(0, b"a"), (1, b"b")]
    assert await store.calls(run.id) == (call,)
    assert await texts(store, run.thread_id) == ["hello", "asking"]


async def test_repeating_the_last_write_changes_nothing(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    write = writing(run, b"a", items=(said("once"),))

    first = await append_events(write, store=store)
    again = await append_events(write, store=store)

    assert again == first
    assert await texts(store, run.thread_id) == ["hello", "once"]
    assert len((await store.log(run.id, after=-1)).events) == 1


async def test_repeating_a_write_without_events_adds_its_items_once(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    write = writing(run, items=(said("once"),))

    await append_events(write, store=store)
    await append_events(write, store=store)

    assert await texts(store, run.thread_id) == ["hello", "once"]


@pytest.mark.parametrize("first", [0, 3])
async def test_a_write_with_another_number_is_told_the_right_one(store: Store, clock: FakeClock, first: int) -> None:
    run = await appended(store, await running(store, clock), b"a", b"b")

    with pytest.raises(SequenceMismatch) as caught:
        await append_events(writing(run, b"x", first=first, items=(said("x"),)), store=store)

    assert caught.value.facts["expected"] == "2"
    assert await texts(store, run.thread_id) == ["hello"]


async def test_a_different_write_in_the_place_of_the_last_one_is_refused(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    await append_events(writing(run, b"a"), store=store)

    with pytest.raises(SequenceMismatch):
        await append_events(writing(run, b"b"), store=store)


async def test_parallel_writers_of_one_epoch_cannot_both_write_the_same_number(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    writes = (append_events(writing(run, str(each).encode()), store=store) for each in range(10))
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert sum(isinstance(each, SequenceMismatch) for each in results) == 9
    assert len((await store.log(run.id, after=-1)).events) == 1


async def test_a_call_moves_on_until_it_has_finished(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    sent = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.SENT)
    done = CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text="42"),), structured_json="42", seconds=0.5)
    ended = replace(sent, state=CallState.FINISHED, finished=done, attempt=1)
    second = replace(ended, finished=replace(done, parts=(Text(text="43"),)))

    for call in (sent, ended, second, sent):
        run = await append_events(writing(run, b"x", calls=(call,)), store=store)

    assert await store.calls(run.id) == (ended,)


async def test_calls_are_listed_in_the_order_of_the_model(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    calls = [
        Call(id=name, run_id=run.id, ordinal=ordinal, name="t", arguments_json="{}", state=CallState.PLANNED)
        for name, ordinal in (("z", 0), ("a", 2), ("m", 1))
    ]
    await append_events(writing(run, calls=tuple(calls)), store=store)

    assert [call.id for call in await store.calls(run.id)] == ["z", "m", "a"]


async def test_writes_of_many_runs_are_accepted_or_refused_one_by_one(store: Store, clock: FakeClock) -> None:
    first, second, third = [await running(store, clock, key) for key in "abc"]
    wrong = InvalidArgument("An event is too large.")

    outcomes = await append_to_runs(
        [
            writing(first, b"a"),
            writing(second, b"late", epoch=second.epoch + 1, items=(said("late"),)),
            wrong,
            writing(third, b"b", items=(said("asking"),)),
            writing(first, b"c", first=1),
        ],
        store=store,
    )

    assert [each.next_sequence if isinstance(each, Run) else type(each) for each in outcomes] == [
        1, StaleEpoch, InvalidArgument, 1, 2,
    ]  # fmt: skip
    assert [event.body for event in (await store.log(first.id, after=-1)).events] == [b"a", b"c"]
    assert (await store.log(second.id, after=-1)).events == ()
    assert await texts(store, second.thread_id) == ["hello"]
    assert await texts(store, third.thread_id) == ["hello", "asking"]


async def test_a_repeated_group_of_writes_changes_nothing(store: Store, clock: FakeClock) -> None:
    runs = [await running(store, clock, key) for key in "ab"]
    writes = [writing(run, b"x", items=(said("once"),)) for run in runs]

    first = await append_to_runs(writes, store=store)

    assert await append_to_runs(writes, store=store) == first
    assert [await texts(store, run.thread_id) for run in runs] == [["hello", "once"]] * 2


async def test_every_watcher_hears_of_a_group_of_writes(store: Store, clock: FakeClock) -> None:
    runs = [await running(store, clock, key) for key in "ab"]

    async def first_events(run: Run) -> list[object]:
        async for events in watch(run.id, after=-1, store=store, heartbeat=30):
            if events:  # one without says only that the stream is alive
                return [event.body for event in events]
        return []

    heard = [asyncio.create_task(first_events(run)) for run in runs]
    await asyncio.sleep(0)

    await append_to_runs([writing(run, b"x") for run in runs], store=store)

    async with asyncio.timeout(10):
        assert [await each for each in heard] == [[b"x"], [b"x"]]


# Ending


async def test_finishing_commits_the_last_events_items_and_the_state_together(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock), b"a")

    ended = await finished(store, run, b"b", items=(said("answer", Role.ASSISTANT),))

    assert (ended.state, ended.finished, ended.next_sequence) == (RunState.SUCCEEDED, SUCCEEDED, 3)
    assert [event.body for event in await whole_log(store, run.id)] == [b"a", b"b", SUCCEEDED]
    assert await texts(store, run.thread_id) == ["hello", "answer"]
    assert (await store.thread(run.thread_id)).active_run_id == ""


async def test_finishing_twice_ends_the_run_once(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    write = writing(run, items=(said("answer", Role.ASSISTANT),), finished=SUCCEEDED)

    first = await append_events(write, store=store)
    again = await append_events(write, store=store)

    assert again == first == await store.run(run.id)
    assert await texts(store, run.thread_id) == ["hello", "answer"]


async def test_an_ended_run_takes_no_writes(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock), b"a")
    ended = await finished(store, run)

    for late in (
        append_events(writing(ended, b"x"), store=store),
        append_events(writing(run, b"a", first=0), store=store),
        append_events(writing(ended, finished=RunFinished(state=RunState.FAILED)), store=store),
        renew(run.id, epoch=run.epoch, store=store),
    ):
        with pytest.raises(RunAlreadyFinished):
            await late
    assert await store.run(run.id) == ended


async def test_a_repeated_write_is_told_that_the_run_has_ended_meanwhile(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    write = writing(run, b"x")
    await append_events(write, store=store)
    clock.advance(5)
    await cancel(run.id, store=store)

    with pytest.raises(RunAlreadyFinished):
        await append_events(write, store=store)


async def test_cancelling_a_waiting_run_ends_it_at_once(store: Store) -> None:
    run = await queued(store, "k")

    ended = await cancel(run.id, store=store)

    assert ended.state is RunState.CANCELLED
    assert [event.body for event in await whole_log(store, run.id)] == [ended.finished]
    assert await texts(store, run.thread_id) == []


async def test_cancelling_a_running_run_asks_its_writer(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    asked = await cancel(run.id, store=store)

    assert (asked.state, asked.cancel_requested) == (RunState.RUNNING, True)
    assert (await renew(run.id, epoch=run.epoch, store=store)).cancel_requested
    assert (await appended(store, run, b"x")).cancel_requested


async def test_cancelling_a_run_without_a_living_writer_ends_it(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    next_one = await queued(store, "k")
    clock.advance(5)

    assert (await cancel(run.id, store=store)).state is RunState.CANCELLED
    assert (await claimed(store, clock, next_one)).state is RunState.RUNNING


async def test_cancelling_an_ended_run_changes_nothing(store: Store, clock: FakeClock) -> None:
    ended = await finished(store, await running(store, clock))

    assert await cancel(ended.id, store=store) == ended


async def test_what_is_asked_of_an_unknown_run_is_not_found(store: Store, clock: FakeClock) -> None:
    run = Run(
        id="run_none",
        thread_id="",
        number=0,
        state=RunState.RUNNING,
        create_time=clock.now(),
        deadline=clock.now(),
        expires=0,
        lease_until=0,
        epoch=1,
    )
    for asked in (
        store.run(run.id),
        store.log(run.id, after=-1),
        cancel(run.id, store=store),
        claimed(store, clock, run),
        renew(run.id, epoch=1, store=store),
        append_events(writing(run, b"x"), store=store),
        append_events(writing(run, finished=SUCCEEDED), store=store),
    ):
        with pytest.raises(RunNotFound):
            await asked


# Watching


async def test_a_log_can_be_read_again_after_each_of_its_events(store: Store, clock: FakeClock) -> None:
    """A13, A14: whatever was read before, the rest is the same."""
    run = await running(store, clock)
    for number in range(0, 30, 3):
        run = await appended(store, run, *(str(number + each).encode() for each in range(3)))
    await finished(store, run, b"last")
    whole = await whole_log(store, run.id)

    assert [event.sequence for event in whole] == list(range(32))
    for cut in range(32):
        assert await whole_log(store, run.id, after=cut) == whole[cut + 1 :]


async def test_a_watcher_sees_what_is_written_while_it_watches(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock), b"a")
    seen = []

    async with asyncio.timeout(30), aclosing(watch(run.id, after=-1, store=store, heartbeat=10)) as pieces:
        async for piece in pieces:
            seen += [event.body for event in piece]
            if seen == [b"a"]:
                run = await appended(store, run, b"b")
            elif seen == [b"a", b"b"]:
                await finished(store, run)

    assert seen == [b"a", b"b", SUCCEEDED]


async def test_a_write_wakes_those_who_follow_the_run(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    with store.changes(run.id) as changes:
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(changes.wait(60))
            await appended(store, run, b"x")


async def test_the_end_of_a_run_wakes_those_who_follow_the_run_or_the_thread(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    with store.changes(run.id) as of_run, store.changes(run.thread_id) as of_thread:
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(of_run.wait(60))
            tasks.create_task(of_thread.wait(60))
            await finished(store, run)


async def test_a_watcher_with_nothing_to_see_hears_a_heartbeat(store: Store) -> None:
    run = await queued(store)

    async with asyncio.timeout(30), aclosing(watch(run.id, after=-1, store=store, heartbeat=0.01)) as pieces:
        assert await anext(pieces) == ()
        assert await anext(pieces) == ()


async def test_a_log_cannot_be_watched_beyond_its_end(store: Store, clock: FakeClock) -> None:
    run = await appended(store, await running(store, clock), b"a")

    with pytest.raises(InvalidArgument) as caught:
        await anext(watch(run.id, after=1, store=store))

    assert caught.value.field == "after_sequence"


async def test_watching_an_unknown_run_is_not_found(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await anext(watch("run_none", after=-1, store=store))


async def test_a_long_log_comes_in_pieces_that_a_message_can_carry(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)
    large, small = b"x" * 700_000, b"y"
    for bodies in ([large, large, large], [small] * 4096, [b"z" * 2_000_000]):
        run = await appended(store, run, *bodies)
    await finished(store, run)

    pieces = [piece async for piece in watch(run.id, after=-1, store=store, heartbeat=0.01)]

    sizes = [sum(len(event.body) for event in piece if isinstance(event.body, bytes)) for piece in pieces]
    assert [event.sequence for piece in pieces for event in piece] == list(range(4101))
    assert sizes == [700_000, 700_000, 700_000 + 4096, 2_000_000]


async def test_bodies_are_kept_byte_for_byte(store: Store, clock: FakeClock) -> None:
    bodies = (b"", b"\0\xff", bytes(range(256)) * 300)
    run = await appended(store, await running(store, clock), *bodies)

    assert tuple(event.body for event in (await store.log(run.id, after=-1)).events) == bodies
