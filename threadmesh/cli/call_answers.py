"""`threadmesh calls answer`: what a tool's server asks, and a person's answers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console

from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.conversation.v1 import questions_pb2
from threadmesh.cli.arguments import parse_arguments
from threadmesh.cli.calls import SECONDS, reached
from threadmesh.cli.output import stderr, visible
from threadmesh.errors import CallNotWaiting, InvalidArgument
from threadmesh.forms import FormSchema


def asked_at_terminal(required: questions_pb2.CallInputRequired) -> list[questions_pb2.Answer]:
    """Ask the person at the terminal what a server asks; nobody is there who answers for a model."""
    forms = [question for question in required.questions if question.HasField("form")]
    if forms:
        show_questions(required, forms, stderr())
    models = (question for question in required.questions if not question.HasField("form"))
    declined = (
        questions_pb2.Answer(question_id=each.id, action=questions_pb2.ANSWER_ACTION_DECLINE, model="none")
        for each in models
    )
    return [*asked_answers(forms), *declined]


def open_questions(call: pb.Call) -> list[questions_pb2.Question]:
    """Give what a person can answer of a call; raises `CallNotWaiting` if that is nothing."""
    given = {answer.question_id for answer in call.input_required.given}
    questions = [question for question in call.input_required.questions if question.id not in given]
    if not questions:
        raise CallNotWaiting("The call's server asks nothing.")
    return questions


def show_questions(
    required: questions_pb2.CallInputRequired, questions: Sequence[questions_pb2.Question], console: Console
) -> None:
    """Write who asks and what, with every character visible."""
    console.print(visible(f"{required.name}: the server {required.server} asks"), markup=False)
    for question in questions:
        for line in _lines(question, several=len(questions) > 1):
            console.print(visible(line), markup=False)


def answers_of(questions: Sequence[questions_pb2.Question], words: Sequence[str]) -> list[questions_pb2.Answer]:
    """Read answers from the command line: to one question `key=value`, to several a JSON object of their contents by
    the questions' ids. Raises `InvalidArgument`.
    """
    if len(questions) == 1:
        content = parse_arguments(words, schema_json=questions[0].form.schema_json)
        return [_accepted(questions[0].id, content)]
    contents = json.loads(parse_arguments(words, schema_json=""))
    if not all(isinstance(content, dict) for content in contents.values()):
        raise InvalidArgument("Several questions are asked; write one JSON object of their contents by their ids.")
    return [_accepted(name, json.dumps(content, ensure_ascii=False)) for name, content in contents.items()]


def asked_answers(questions: Sequence[questions_pb2.Question]) -> list[questions_pb2.Answer]:
    """Ask the person at the terminal for every field, until each fits."""
    return [_accepted(each.id, json.dumps(_filled_in(each.form), ensure_ascii=False)) for each in questions]


def refusals(
    questions: Sequence[questions_pb2.Question], action: "questions_pb2.AnswerAction.ValueType"
) -> list[questions_pb2.Answer]:
    """Give the answers of somebody who does not answer."""
    return [questions_pb2.Answer(question_id=question.id, action=action) for question in questions]


async def send_answers(
    target: str, run_id: str, call_id: str, answers: Sequence[questions_pb2.Answer], *, in_round: int
) -> None:
    """Answer a round of questions; raises `CallNotWaiting`, `CallAlreadyDecided`, and `InvalidArgument` for what does
    not fit.
    """
    request = pb.AnswerCallRequest(run_id=run_id, call_id=call_id, answers=answers, round=in_round)
    async with reached(target, peer="context") as channel:
        await RunsServiceStub(channel).AnswerCall(request, timeout=SECONDS)


def _lines(question: questions_pb2.Question, *, several: bool) -> Iterator[str]:
    if several:
        yield f"question {question.id}"
    yield from question.form.message.split("\n")
    form = FormSchema(question.form.schema_json)
    for name, field in form.fields.items():
        yield f"  {name}{'' if name in form.required else ' (may be left out)'}: {json.dumps(field)}"


def _accepted(name: str, content_json: str) -> questions_pb2.Answer:
    return questions_pb2.Answer(question_id=name, action=questions_pb2.ANSWER_ACTION_ACCEPT, content_json=content_json)


def _filled_in(form: questions_pb2.Form) -> dict[str, Any]:
    schema = FormSchema(form.schema_json)
    return {
        name: value
        for name, field in schema.fields.items()
        if (value := _field(schema, name, field, form.schema_json)) is not None
    }


def _field(schema: FormSchema, name: str, field: Mapping[str, Any], schema_json: str) -> Any:
    """Ask for a field until it fits; None if it is left out."""
    default = field.get("default", None if name in schema.required else "")
    while True:
        said = typer.prompt(visible(name), default=default, show_default=default not in {None, ""}, err=True)
        if said == "" and name not in schema.required:
            return None
        value = json.loads(parse_arguments([f"{name}={said}"], schema_json=schema_json))[name]
        if not (wrong := schema.wrong(name, value)):
            return value
        typer.echo(wrong, err=True)
