"""What every store promises about runs that wait for persons, and about what these say of calls."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from context_svc.domain.action import Action, Resolution
from context_svc.domain.append_events import append_events
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.decide_call import Word, decide_call
from context_svc.domain.expire import expire
from context_svc.domain.lease import GIVEN_UP_SECONDS, LEASE_SECONDS
from context_svc.domain.ports import Store
from context_svc.domain.require_action import require_action
from context_svc.domain.run import Run, RunState
from context_svc.domain.take_over import MOST_WRITERS, take_over
from tests.context_svc.given import appended, asking, claimed, finished, queued, result, running, texts, writing
from threadmesh.conversation import CallFinished, CallOutcome, Text, arguments_hash
from threadmesh.errors import (
    ArgumentsDiffer,
    CallAlreadyDecided,
    CallNotFound,
    CallNotWaiting,
    DefinitionDiffers,
    InvalidArgument,
    RunNotFound,
    StaleEpoch,
)
from threadmesh.testing.clock import FakeClock

APPROVED = Word(resolution=Resolution.APPROVED)
DENIED = Word(resolution=Resolution.DENIED, reason="not today")
SECONDS = 300.0


def call(run: Run, name: str = "c", state: CallState = CallState.AWAITING_APPROVAL) -> Call:
    return Call(id=name, run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=state)


async def waiting(store: Store, clock: FakeClock, *names: str, key: str = "k") -> Run:
    """Let a run wait for decisions about the named calls."""
    run = await running(store, clock, key)
    return await wait(store, run, *names)


async def wait(store: Store, run: Run, *names: str) -> Run:
    write = writing(run, b"asks", calls=tuple(call(run, name) for name in names or ("c",)))
    actions = [Action(call_id=name, definition_hash="h") for name in names or ("c",)]
    return await require_action(write, actions, seconds=SECONDS, store=store)


async def taken(store: Store, clock: FakeClock, patience: float = 0) -> Run | None:
    return await take_over(owner="facade-2", patience=patience, store=store, clock=clock)


async def decided(store: Store, run: Run, word: Word = APPROVED, call_id: str = "c") -> Run:
    run, _ = await decide_call(run.id, call_id, word, store=store)
    return run


async def test_a_run_that_waits_for_a_person_has_no_writer_and_keeps_its_thread(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    clock.advance(LEASE_SECONDS * 2)

    assert (run.state, run.owner, run.next_sequence) == (RunState.REQUIRES_ACTION, "", 1)
    assert await expire(store) == ()
    assert await taken(store, clock) is None
    assert (await store.thread(run.thread_id)).active_run_id == run.id
    assert [each.state for each in await store.calls(run.id)] == [CallState.AWAITING_APPROVAL]
    assert await store.run(run.id) == run


async def test_the_former_writer_of_a_waiting_run_can_repeat_its_last_word(store: Store, clock: FakeClock) -> None:
    before = await running(store, clock, "k")
    run = await wait(store, before)

    assert await wait(store, before) == run
    assert (await store.run(run.id)).waits == 1


async def test_a_run_goes_on_at_once_when_the_last_call_was_decided(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock, "a", "b")
    taking = asyncio.create_task(taken(store, clock, patience=30))
    await decided(store, run, APPROVED, "a")
    still = await store.run(run.id)
    await decided(store, run, DENIED, "b")
    async with asyncio.timeout(5):
        after = await taking

    assert still.state is RunState.REQUIRES_ACTION
    assert after is not None
    assert (after.state, after.epoch, after.owner) == (RunState.RUNNING, 2, "facade-2")
    said = {each.call_id: each.decision and (each.decision.resolution, each.decision.reason) for each in after.actions}
    assert said == {"a": (Resolution.APPROVED, ""), "b": (Resolution.DENIED, "not today")}
    with pytest.raises(StaleEpoch):
        await appended(store, run, b"late")


async def test_a_run_goes_on_without_an_answer_when_it_has_waited_long_enough(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    clock.advance(SECONDS)
    with pytest.raises(CallNotWaiting, match="too late"):
        await decided(store, run)
    after = await taken(store, clock)

    assert after is not None
    assert (after.state, after.actions[0].decision, after.wait_until) == (RunState.RUNNING, None, None)


async def test_waiting_for_persons_does_not_eat_the_time_of_the_run(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    before = run.deadline
    for number in range(4):
        run = await wait(store, run, f"c{number}")
        clock.advance(200)
        assert await expire(store) == ()
        await decided(store, run, call_id=f"c{number}")
        run = await taken(store, clock) or run

    assert run.state is RunState.RUNNING
    assert run.deadline - before == timedelta(seconds=800)
    assert await store.run(run.id) == run


async def test_a_run_that_nobody_answered_still_has_its_own_time(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    before = run.deadline
    clock.advance(SECONDS)
    after = await taken(store, clock)

    assert after is not None
    assert after.deadline == before
    clock.advance(LEASE_SECONDS)
    assert await taken(store, clock) is not None
    clock.advance(600.0)
    (ended,) = await expire(store)
    assert (ended.finished and ended.finished.failure and ended.finished.failure.reason) == "DEADLINE_EXCEEDED"


async def test_a_decision_outlives_a_restart_of_all_that_answers_runs(store: Store, clock: FakeClock) -> None:
    run = await decided(store, await waiting(store, clock))
    clock.advance(30)
    early = await expire(store)
    after = await taken(store, clock)
    other = await decided(store, await waiting(store, clock, key="other"))
    clock.advance(GIVEN_UP_SECONDS)
    late = await expire(store)

    assert early == ()
    assert after is not None
    assert after.id == run.id
    assert [(each.id, each.state) for each in late if each.id == other.id] == [(other.id, RunState.FAILED)]


async def test_a_decision_holds_whoever_says_what_later(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    first = await decided(store, run)

    assert await decided(store, run) == first
    with pytest.raises(CallAlreadyDecided):
        await decided(store, run, DENIED)
    assert (await store.run(run.id)).actions == first.actions


async def test_of_two_who_decide_at_once_one_is_heard(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    answers = await asyncio.gather(
        *(decided(store, run, word) for word in (APPROVED, DENIED) * 4), return_exceptions=True
    )

    heard = [answer for answer in answers if isinstance(answer, Run)]
    assert len(heard) == 4
    assert all(isinstance(answer, Run | CallAlreadyDecided) for answer in answers)


async def test_what_was_approved_is_the_tool_that_was_shown(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    with pytest.raises(DefinitionDiffers):
        await decided(store, run, replace(APPROVED, definition_hash="another"))

    assert (await decided(store, run, replace(APPROVED, definition_hash="h"))).state is RunState.RUNNING


async def test_what_was_decided_about_is_the_arguments_that_were_shown(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    with pytest.raises(ArgumentsDiffer) as refused:
        await decided(store, run, replace(APPROVED, arguments_hash=arguments_hash('{"all":true}')))
    still = await store.run(run.id)
    after = await decided(store, run, replace(APPROVED, arguments_hash=arguments_hash("{}")))

    assert refused.value.facts["present_hash"] == arguments_hash("{}")
    assert (still.state, after.state) == (RunState.REQUIRES_ACTION, RunState.RUNNING)


async def test_a_decision_with_an_id_is_repeated_by_that_id_alone(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    word = replace(APPROVED, request_id="r1")
    first = await decided(store, run, word)

    assert await decided(store, run, word) == first
    assert await decided(store, run) == first
    for other in (replace(APPROVED, request_id="r2"), replace(DENIED, request_id="r1")):
        with pytest.raises(CallAlreadyDecided):
            await decided(store, run, other)
    assert await store.run(run.id) == first
    assert (first.actions[0].decision and first.actions[0].decision.request_id) == "r1"


async def test_what_was_found_out_is_repeated_by_its_id_alone_too(store: Store, clock: FakeClock) -> None:
    run = await unknown(store, clock)
    word = Word(resolution=Resolution.FAILED, request_id="r1")
    first = await decided(store, run, word)

    assert await decided(store, run, word) == first
    with pytest.raises(CallAlreadyDecided):
        await decided(store, run, replace(word, request_id="r2"))


async def test_nobody_decides_about_what_nobody_asks(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    await append_events(writing(run, b"a", calls=(call(run, state=CallState.INTENT),)), store=store)

    with pytest.raises(CallNotWaiting):
        await decided(store, run)
    with pytest.raises(CallNotFound):
        await decided(store, run, call_id="nobody's")
    with pytest.raises(RunNotFound):
        await decide_call("run_none", "c", APPROVED, store=store)


async def test_a_waiting_run_that_is_stopped_gets_a_writer_at_once_who_ends_its_calls(
    store: Store, clock: FakeClock
) -> None:
    run = await waiting(store, clock)
    after = await cancel(run.id, store=store)

    assert (after.state, after.cancel_requested, after.owner) == (RunState.RUNNING, True, "")
    with pytest.raises(CallNotWaiting):
        await decided(store, run)
    taken_over = await taken(store, clock)
    assert taken_over is not None
    assert (taken_over.id, taken_over.cancel_requested) == (run.id, True)
    await finished(store, taken_over)
    assert (await claimed(store, clock, await queued(store, "k"))).state is RunState.RUNNING


async def test_waiting_for_persons_is_not_dying(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    for number in range(MOST_WRITERS + 1):
        await decided(store, await wait(store, run, f"c{number}"), call_id=f"c{number}")
        run = await taken(store, clock) or run

    assert (run.state, run.epoch) == (RunState.RUNNING, MOST_WRITERS + 2)


async def test_a_call_of_unknown_outcome_is_settled_and_the_thread_says_so(store: Store, clock: FakeClock) -> None:
    run = await unknown(store, clock)
    word = Word(resolution=Resolution.SUCCEEDED, parts=(Text(text="it is there"),), reason="looked")
    after = await decided(store, run, word)

    assert (await texts(store, run.thread_id))[-1] == "it is there"
    assert after.actions[-1].decision is not None
    assert await decided(store, run, word) == after
    with pytest.raises(CallAlreadyDecided):
        await decided(store, run, Word(resolution=Resolution.FAILED))
    (kept,) = await store.calls(run.id)
    assert kept.finished is not None
    assert kept.finished.outcome is CallOutcome.UNKNOWN


async def test_another_result_of_a_settled_call_is_refused(store: Store, clock: FakeClock) -> None:
    run = await unknown(store, clock)
    await decided(store, run, Word(resolution=Resolution.SUCCEEDED, parts=(Text(text="first"),)))

    with pytest.raises(CallAlreadyDecided):
        await decided(store, run, Word(resolution=Resolution.SUCCEEDED, parts=(Text(text="second"),)))
    assert (await texts(store, run.thread_id))[-1] == "first"


async def test_a_call_that_had_no_effect_is_told_with_the_reason(store: Store, clock: FakeClock) -> None:
    run = await unknown(store, clock)
    await decided(store, run, Word(resolution=Resolution.FAILED, reason="The card is still red."))

    assert (await texts(store, run.thread_id))[-1].endswith("had no effect. The card is still red.")


async def test_a_call_that_failed_is_told_as_its_result_says(store: Store, clock: FakeClock) -> None:
    run = await unknown(store, clock)
    await decided(store, run, Word(resolution=Resolution.FAILED, parts=(Text(text="The call failed. No luck."),)))

    assert (await texts(store, run.thread_id))[-1] == "The call failed. No luck."


async def test_only_what_is_unknown_is_settled(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)

    with pytest.raises(CallNotWaiting):
        await decided(store, run, Word(resolution=Resolution.SUCCEEDED))
    with pytest.raises(InvalidArgument):
        await decided(store, run, Word(resolution=Resolution.DENIED, parts=(Text(text="result"),)))


async def unknown(store: Store, clock: FakeClock) -> Run:
    """Give a run with a call whose outcome is unknown, and its items in the thread."""
    run = await running(store, clock, "k")
    ended = replace(call(run, state=CallState.FINISHED), finished=CallFinished(outcome=CallOutcome.UNKNOWN))
    write = writing(run, b"a", calls=(ended,), items=(asking("c"), result("c", "nobody knows")))
    return await append_events(write, store=store)
