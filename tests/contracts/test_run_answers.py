"""What every store promises about runs that wait for a person to answer a tool's server."""

from dataclasses import replace

import pytest

from context_svc.domain.action import Action, Resolution
from context_svc.domain.answer_call import answer_call
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.decide_call import Word, decide_call
from context_svc.domain.expire import expire
from context_svc.domain.lease import ABANDONED_SECONDS, GIVEN_UP_SECONDS
from context_svc.domain.ports import Store
from context_svc.domain.require_action import require_action
from context_svc.domain.run import Run, RunState
from context_svc.domain.take_over import take_over
from tests.context_svc.given import running, writing
from threadmesh.errors import CallAlreadyDecided, CallNotFound, CallNotWaiting, InvalidArgument, RunNotFound
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question
from threadmesh.testing.clock import FakeClock

SECONDS = 300.0
SCHEMA = '{"type":"object","properties":{"seats":{"type":"integer"}},"required":["seats"]}'
QUESTION = Question(id="q", asked=Form(message="How many seats?", schema_json=SCHEMA))
OTHER = Question(id="other", asked=Form(message="Sure?", schema_json='{"type":"object","properties":{}}'))
ASKED = InputRequired(name="s__t", server="s", questions=(QUESTION,), round=1, request_state="state", held=True)
SEATS = Answer(question_id="q", action=AnswerAction.ACCEPT, content_json='{"seats": 4}')
DECLINED = Answer(question_id="q", action=AnswerAction.DECLINE)


async def asking(store: Store, run: Run, asked: InputRequired = ASKED, call_id: str = "c") -> Run:
    """Let a run wait until its call's server has answers."""
    call = Call(id=call_id, run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.AWAITING_INPUT)
    action = Action(call_id=call_id, asked=asked)
    return await require_action(writing(run, b"asks", calls=(call,)), [action], seconds=SECONDS, store=store)


async def waiting(store: Store, clock: FakeClock, asked: InputRequired = ASKED) -> Run:
    return await asking(store, await running(store, clock, "k"), asked)


async def taken(store: Store, clock: FakeClock) -> Run:
    run = await take_over(owner="facade-2", patience=0, store=store, clock=clock)
    assert run is not None
    return run


async def test_a_run_goes_on_with_the_answers_of_a_person(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    asked = await store.run(run.id)
    _, call = await answer_call(run.id, "c", [SEATS], store=store)
    after = await taken(store, clock)

    assert (asked.state, asked.actions) == (RunState.REQUIRES_ACTION, (Action(call_id="c", asked=ASKED),))
    assert call.state is CallState.AWAITING_INPUT
    (action,) = (await store.run(run.id)).actions
    assert (after.state, action.asked) == (RunState.RUNNING, ASKED)
    assert action.decision is not None
    assert (action.decision.resolution, action.decision.answers) == (Resolution.ANSWERED, (SEATS,))


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ([replace(SEATS, content_json='{"seats": "4"}')], "answers[0].content_json.seats"),
        ([replace(SEATS, content_json="{}")], "answers[0].content_json.seats"),
        ([replace(SEATS, content_json="[]")], "answers[0].content_json"),
        ([replace(SEATS, content_json="no JSON")], "answers[0].content_json"),
        ([replace(DECLINED, content_json="{}")], "answers[0].content_json"),
        ([replace(SEATS, question_id="another")], "answers[0].question_id"),
        ([SEATS, DECLINED], "answers"),
        ([SEATS, replace(SEATS, question_id="other", content_json='{"a":1}')], "answers[1].content_json.a"),
        ([SEATS], "answers"),
    ],
)
async def test_answers_that_do_not_fit_are_refused_and_the_run_waits_on(
    store: Store, clock: FakeClock, answers: list[Answer], field: str
) -> None:
    run = await waiting(store, clock, replace(ASKED, questions=(QUESTION, OTHER)))

    with pytest.raises(InvalidArgument) as refused:
        await answer_call(run.id, "c", answers, store=store)

    assert refused.value.field == field
    assert (await store.run(run.id)).state is RunState.REQUIRES_ACTION


async def test_what_a_model_has_answered_is_no_question_to_a_person(store: Store, clock: FakeClock) -> None:
    given = Answer(question_id="m", action=AnswerAction.ACCEPT, text="hello", model="small")
    run = await waiting(store, clock, replace(ASKED, given=(given,)))
    await answer_call(run.id, "c", [DECLINED], store=store)

    (action,) = (await store.run(run.id)).actions
    assert action.asked is not None
    assert action.asked.given == (given,)


async def test_the_first_answers_hold(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    first, _ = await answer_call(run.id, "c", [SEATS], request_id="mine", store=store)
    again, _ = await answer_call(run.id, "c", [SEATS], store=store)

    assert again == first
    with pytest.raises(CallAlreadyDecided):
        await answer_call(run.id, "c", [DECLINED], store=store)
    with pytest.raises(CallAlreadyDecided):
        await answer_call(run.id, "c", [SEATS], request_id="another", store=store)


async def test_answers_to_a_round_count_for_no_other_one(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    with pytest.raises(CallNotWaiting):
        await answer_call(run.id, "c", [SEATS], in_round=2, store=store)
    await answer_call(run.id, "c", [SEATS], in_round=1, store=store)
    run = await asking(store, await taken(store, clock), replace(ASKED, round=2))

    with pytest.raises(CallAlreadyDecided):
        await answer_call(run.id, "c", [SEATS], in_round=1, store=store)
    assert (await store.run(run.id)).state is RunState.REQUIRES_ACTION


async def test_answers_that_are_sent_again_change_nothing_in_later_rounds(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    for number in (1, 2):
        await answer_call(run.id, "c", [SEATS], request_id=f"answer {number}", store=store)
        run = await asking(store, await taken(store, clock), replace(ASKED, round=number + 1))
    for number in (1, 2):
        await answer_call(run.id, "c", [SEATS], request_id=f"answer {number}", store=store)

    assert (await store.run(run.id)).state is RunState.REQUIRES_ACTION


async def test_nobody_answers_what_is_not_asked(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)

    with pytest.raises(CallNotWaiting):
        await decide_call(run.id, "c", Word(resolution=Resolution.APPROVED), store=store)
    with pytest.raises(CallNotFound):
        await answer_call(run.id, "another", [SEATS], store=store)
    with pytest.raises(RunNotFound):
        await answer_call("run_of_nobody", "c", [SEATS], store=store)
    clock.advance(SECONDS)
    with pytest.raises(CallNotWaiting, match="too late"):
        await answer_call(run.id, "c", [SEATS], store=store)


@pytest.mark.parametrize("answered", [False, True])
async def test_a_run_whose_servers_have_asked_is_stopped_by_a_writer(
    store: Store, clock: FakeClock, answered: bool
) -> None:
    run = await waiting(store, clock)
    if answered:
        await answer_call(run.id, "c", [SEATS], store=store)
    asked = await cancel(run.id, store=store)
    again = await cancel(run.id, store=store)
    after = await taken(store, clock)

    assert (asked.state, asked.cancel_requested, asked.deadline) == (RunState.RUNNING, True, after.deadline)
    assert again == asked
    assert (after.state, after.cancel_requested, after.epoch) == (RunState.RUNNING, True, run.epoch + 1)
    if not answered:
        with pytest.raises(CallNotWaiting):
            await answer_call(run.id, "c", [SEATS], store=store)


async def test_a_run_that_is_to_stop_is_not_ended_before_its_writer_can_be_back(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    await cancel(run.id, store=store)
    clock.advance(ABANDONED_SECONDS)
    await expire(store)
    before = (await store.run(run.id)).state
    clock.advance(GIVEN_UP_SECONDS)
    await expire(store)

    assert (before, (await store.run(run.id)).state) == (RunState.RUNNING, RunState.CANCELLED)


async def test_a_call_that_was_approved_keeps_that_and_may_ask_again(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    call = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.AWAITING_APPROVAL)
    write = writing(run, b"may it", calls=(call,))
    await require_action(write, [Action(call_id="c", definition_hash="h")], seconds=SECONDS, store=store)
    await decide_call(run.id, "c", Word(resolution=Resolution.APPROVED), store=store)
    for number in (1, 2):
        run = await asking(store, await taken(store, clock), replace(ASKED, round=number))
        await answer_call(run.id, "c", [SEATS], store=store)

    approval, answer = (await taken(store, clock)).actions
    assert (approval.definition_hash, answer.asked and answer.asked.round) == ("h", 2)


async def test_what_nobody_answered_does_not_hold_later_answers_up(store: Store, clock: FakeClock) -> None:
    run = await waiting(store, clock)
    clock.advance(SECONDS)
    run = await asking(store, await taken(store, clock), call_id="d")
    await answer_call(run.id, "d", [SEATS], store=store)

    assert (await taken(store, clock)).state is RunState.RUNNING
