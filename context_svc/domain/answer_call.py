"""Takes a person's answers to what a tool's server asks."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from context_svc.domain.action import Action, Decision, Resolution
from context_svc.domain.call import Call
from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.go_on import call_of, gone_on, waits
from context_svc.domain.ports import RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run
from threadmesh.errors import CallAlreadyDecided, CallNotWaiting, InvalidArgument
from threadmesh.forms import FormSchema
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question


async def answer_call(
    run_id: str, call_id: str, answers: Sequence[Answer], *, in_round: int = 0, request_id: str = "", store: RunStore
) -> tuple[Run, Call]:
    """Note a person's answers; gives the run after it, and the call. The same answers again change nothing.

    Of answers with ids, only those with the same id are the same, also once another round is asked. Those to a round
    count for no other one; 0 is the present one. Once every call has its word, the run can be gone on with.
    Raises `RunNotFound`, `CallNotFound`, `CallNotWaiting` also when it is too late, `CallAlreadyDecided`, and
    `InvalidArgument` unless each open question has one answer, which fits its form.
    """
    call = await call_of(run_id, call_id, store)
    word = partial(_answer, call, tuple(answers), in_round, request_id)
    return await store.change(Scope(run_id=run_id), word), call


def _answer(
    call: Call, answers: tuple[Answer, ...], in_round: int, request_id: str, state: State
) -> tuple[Change, Run]:
    run = state.existing_run()
    action = next((each for each in run.actions if each.call_id == call.id and each.asked is not None), None)
    if action is None or action.asked is None:
        raise CallNotWaiting("The call's server asks nothing.", call=call.id)
    if request_id in action.former or (_present(action, action.asked, in_round) and _said(action, answers, request_id)):
        return NOTHING, run
    if not waits(run, state):
        raise CallNotWaiting("It is too late: the run has gone on without an answer.", call=call.id)
    _check(action.asked.open, answers)
    decision = Decision(resolution=Resolution.ANSWERED, time=state.now.time, answers=answers, request_id=request_id)
    after = gone_on(run, action, decision, state)
    return Change(thread=released(state, after), runs=(after,)), after


def _present(action: Action, asked: InputRequired, in_round: int) -> bool:
    """Whether the present round is meant; raises `CallAlreadyDecided` for a former one, `CallNotWaiting` for others."""
    if 0 < in_round < asked.round:
        raise CallAlreadyDecided("That was answered before; something else is asked now.", call=action.call_id)
    if in_round > asked.round:
        raise CallNotWaiting("The call's server does not ask that.", call=action.call_id)
    return True


def _said(action: Action, answers: tuple[Answer, ...], request_id: str) -> bool:
    """Whether this was said before; raises `CallAlreadyDecided` when something else was."""
    if action.decision is None:
        return False
    another = request_id and action.decision.request_id not in {"", request_id}
    if another or action.decision.answers != answers:
        raise CallAlreadyDecided(call=action.call_id, resolution=action.decision.resolution.value)
    return True


def _check(questions: Sequence[Question], answers: Sequence[Answer]) -> None:
    asked = {question.id: question for question in questions}
    if len({answer.question_id for answer in answers}) < len(answers):
        raise InvalidArgument("A question is answered once.", field="answers")
    for index, answer in enumerate(answers):
        if answer.question_id not in asked:
            raise InvalidArgument("Nobody asks this, or not any more.", field=f"answers[{index}].question_id")
        for place, wrong in _wrong(answer, asked[answer.question_id]):
            raise InvalidArgument(wrong, field=f"answers[{index}].{place}")
    if left := asked.keys() - {answer.question_id for answer in answers}:
        raise InvalidArgument(f"The question {min(left)!r} has no answer.", field="answers")


def _wrong(answer: Answer, question: Question) -> Iterator[tuple[str, str]]:
    """Say where and why an answer does not fit its question."""
    if answer.action is not AnswerAction.ACCEPT:
        if answer.content_json:
            yield "content_json", "Only an answer that accepts holds something."
        return
    form = question.asked
    if not isinstance(form, Form):
        yield "question_id", "No person is asked this."
        return
    try:
        content: Any = json.loads(answer.content_json)
    except (ValueError, RecursionError):
        yield "content_json", "It must be a JSON object of the form's fields."
        return
    place, why = FormSchema(form.schema_json).complaint(content)
    if why:
        yield ".".join(filter(None, ("content_json", place))), why
