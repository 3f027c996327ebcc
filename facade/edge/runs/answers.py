"""Persons' answers to tool servers: from the body of a request to the questions of a call."""

import json
from collections.abc import Sequence

from facade.domain.records import CallRecord
from facade.edge.runs.schemas import Answers, FormAnswer
from threadmesh.errors import CallNotFound, CallNotWaiting, InvalidArgument
from threadmesh.questions import Answer, AnswerAction


def answers_of(asked: Answers, call_id: str, calls: Sequence[CallRecord]) -> tuple[int, list[Answer]]:
    """Give the round that is answered, and the answers in the order of their questions.

    Raises `CallNotFound`, `CallNotWaiting`, and `InvalidArgument` where it is not clear what is answered.
    """
    call = next((each for each in calls if each.call.id == call_id), None)
    if call is None:
        raise CallNotFound(call=call_id)
    if call.asked is None:
        raise CallNotWaiting("The call's server asks nothing.", call=call_id)
    # What is answered is what was shown, or, where that is not said, what stands here: never what may be asked next.
    return asked.round or call.asked.round, _answers(asked, [question.id for question in call.asked.open])


def _answers(asked: Answers, names: Sequence[str]) -> list[Answer]:
    if not asked.answers:
        if len(names) > 1 and asked.action == "accept":
            raise InvalidArgument("Several questions are asked; answer each by its id.", field="answers")
        return [_answer(name, asked) for name in names]
    if asked.content is not None:
        raise InvalidArgument("Say either content or answers.", field="content")
    known = [name for name in names if name in asked.answers]
    unknown = sorted(asked.answers.keys() - set(names))
    return [_answer(name, asked.answers[name]) for name in [*known, *unknown]]


def placed(error: InvalidArgument, answers: Sequence[Answer], *, several: bool) -> InvalidArgument:
    """Give an error about one of the answers with the place that it has in the body of the request."""
    place, _, rest = error.field.removeprefix("answers[").partition("].")
    if not rest or not place.isdigit():
        return error
    path = rest.replace("content_json", "content")
    name = answers[int(place)].question_id
    if rest == "question_id":
        return InvalidArgument(error.message, field=f"answers.{name}")
    return InvalidArgument(error.message, field=f"answers.{name}.{path}" if several else path)


def _answer(name: str, said: FormAnswer) -> Answer:
    content = json.dumps(said.content, ensure_ascii=False, sort_keys=True) if said.content is not None else ""
    action = AnswerAction(said.action)
    if action is AnswerAction.ACCEPT and not content:
        content = "{}"
    return Answer(question_id=name, action=action, content_json=content)
