"""The questioner's tools as functions of this process."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from threadmesh.conversation import Role, Text, message
from threadmesh.questions import Answer, AnswerAction, Form, Question, SamplingRequest
from tools_svc.adapters.memory_source import Handler, MemorySource, MemoryTool, Report
from tools_svc.domain.call import Asked, Invocation, ToolOutput
from tools_svc.domain.tool import OfferedTool

_BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {"seats": {"type": "integer"}, "room": {"type": "string", "enum": ["red", "blue"], "default": "red"}},
    "required": ["seats"],
}
_AGREEMENT: dict[str, Any] = {"type": "object", "properties": {"agreed": {"type": "boolean"}}, "required": ["agreed"]}
_SEATS = Question(id="booking", asked=Form(message="How many seats?", schema_json=json.dumps(_BOOKING)))
_AGREED = Question(id="agreement", asked=Form(message="Do you agree?", schema_json=json.dumps(_AGREEMENT)))
_HELLO = SamplingRequest(messages=(message(Role.SYSTEM, "Be brief."), message(Role.USER, "Say hello.")), max_tokens=20)
_GREETING = Question(id="greeting", asked=_HELLO)

Tell = Callable[[Invocation, Sequence[Answer]], str]


def memory_questioner(*, held: bool) -> MemorySource:
    """Make a source that behaves like the questioner: it asks beside its calls, or in the place of their answers."""
    tools: dict[str, tuple[tuple[Question, ...], Tell]] = {
        "book": ((_SEATS,), _booked),
        "greet": ((_GREETING,), lambda _, answers: f"{answers[0].model} says {answers[0].text}"),
        "sign": ((_SEATS, _AGREED, _GREETING), _signed),
    }
    ask = _held if held else _stateless
    return MemorySource("questioner", {name: _tool(name, ask(*each)) for name, each in tools.items()})


def _tool(name: str, run: Handler) -> MemoryTool:
    return MemoryTool(offer=OfferedTool(name=name, definition_hash=name), run=run)


def _stateless(questions: tuple[Question, ...], tell: Tell) -> Handler:
    async def run(invocation: Invocation, report: Report) -> ToolOutput | Asked:
        if not invocation.answers:
            return Asked(questions=questions, request_state="asked")
        return _output(tell(invocation, invocation.answers))

    return run


def _held(questions: tuple[Question, ...], tell: Tell) -> Handler:
    async def run(invocation: Invocation, report: Report) -> ToolOutput:
        answers: list[Answer] = []
        for question in questions:
            answered = asyncio.Event()

            def reply(given: Sequence[Answer], answered: asyncio.Event = answered) -> None:
                answers.extend(given)
                answered.set()

            report(Asked(questions=(question,), reply=reply))
            await answered.wait()
        return _output(tell(invocation, answers))

    return run


def _output(text: str) -> ToolOutput:
    return ToolOutput(parts=(Text(text=text),))


def _booked(invocation: Invocation, answers: Sequence[Answer]) -> str:
    title, (answer,) = invocation.arguments["title"], answers
    if answer.action is not AnswerAction.ACCEPT:
        return f"{title}: {answer.action}"
    booked = json.loads(answer.content_json)
    return f"{title}: {booked['seats']} in {booked.get('room', 'red')}"


def _signed(_: Invocation, answers: Sequence[Answer]) -> str:
    content: dict[str, Any] = {}
    for answer in answers:
        content |= json.loads(answer.content_json or "{}")
    said = next(answer.text for answer in answers if answer.model)
    return f"{content['seats']} {content['agreed']} {said}"
