"""What every source of tools promises whose server may ask, whichever way it asks."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from tests.contracts.test_tool_source import Deaf
from tests.servers.given import QUESTIONER, invocation, output, running, stdio_source
from tests.servers.memory_questioner import memory_questioner
from threadmesh.clock import SystemClock
from threadmesh.conversation import Role, Text
from threadmesh.errors import ToolFailed, ToolInputRequired
from threadmesh.questions import Answer, AnswerAction, Form, Question, SamplingRequest
from tools_svc.adapters.mcp_questions import Allowed
from tools_svc.domain.call import Asked, Invocation, ToolOutput
from tools_svc.domain.govern import govern
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import ToolSource

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERYTHING = Allowed(elicitation=True, sampling=True)
KINDS = ("memory-stateless", "memory-held", "governed-stateless", "governed-held", "mcp-stateless", "mcp-held")


def source_of(kind: str) -> AbstractAsyncContextManager[ToolSource]:
    """Run a source of the questioner's tools."""
    made, _, way = kind.partition("-")
    if made == "mcp":
        return running(stdio_source(QUESTIONER, way, allowed=EVERYTHING))
    source = memory_questioner(held=way == "held")
    policy = ServerPolicy(timeout_seconds=30)
    return nullcontext(source if made == "memory" else govern(source, policy, clock=SystemClock(), listener=Deaf()))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def source(request: pytest.FixtureRequest) -> AsyncIterator[ToolSource]:
    async with source_of(request.param) as source:
        yield source


def asking(tool: str, call_id: str = "call", **arguments: Any) -> Invocation:
    """Make an invocation whose server may ask."""
    return replace(invocation(tool, call_id=call_id, **arguments), may_ask=True)


def answer(asked: Question, action: AnswerAction, content: dict[str, Any] | None = None) -> Answer:
    """Answer a question, for a person or for a model."""
    match asked.asked:
        case SamplingRequest():
            return Answer(question_id=asked.id, action=action, text="hello", model="small")
        case Form():
            return Answer(question_id=asked.id, action=action, content_json=json.dumps(content) if content else "")


async def answered(
    source: ToolSource, call: Invocation, *, action: AnswerAction = AnswerAction.ACCEPT, **fields: Any
) -> tuple[list[Question], str]:
    """Make a call and answer all that its server asks; gives that, and the text of the result."""
    questions: list[Question] = []

    def answers(asked: Asked) -> Sequence[Answer]:
        questions.extend(asked.questions)
        return [
            answer(each, action, {name: value for name, value in fields.items() if name in _fields(each)} or None)
            for each in asked.questions
        ]

    async with asyncio.timeout(30):
        while True:
            async with aclosing(source.call(call)) as updates:
                async for update in updates:
                    if isinstance(update, Asked) and update.reply:
                        update.reply(answers(update))
                    last = update
            if isinstance(last, ToolOutput):
                return questions, "".join(part.text for part in last.parts if isinstance(part, Text))
            assert isinstance(last, Asked)
            call = replace(call, answers=tuple(answers(last)), request_state=last.request_state)


def _fields(asked: Question) -> dict[str, Any]:
    match asked.asked:
        case Form(schema_json=schema):
            return dict(json.loads(schema)["properties"])
        case _:
            return {}


async def test_a_person_is_asked_with_a_form(source: ToolSource) -> None:
    (asked,), text = await answered(source, asking("book", title="Meeting"), seats=4, room="blue")

    assert isinstance(asked.asked, Form)
    assert asked.asked.message == "How many seats?"
    assert text == "Meeting: 4 in blue"


@pytest.mark.parametrize("action", [AnswerAction.DECLINE, AnswerAction.CANCEL])
async def test_a_server_hears_that_nobody_wants_to_answer(source: ToolSource, action: AnswerAction) -> None:
    _, text = await answered(source, asking("book", title="Meeting"), action=action)

    assert text == f"Meeting: {action}"


async def test_a_model_is_asked_with_a_conversation(source: ToolSource) -> None:
    (asked,), text = await answered(source, asking("greet"))

    assert isinstance(asked.asked, SamplingRequest)
    assert [(each.role, each.text) for each in asked.asked.messages] == [
        (Role.SYSTEM, "Be brief."),
        (Role.USER, "Say hello."),
    ]
    assert asked.asked.max_tokens == 20
    assert text == "small says hello"


async def test_a_call_may_ask_several_questions(source: ToolSource) -> None:
    asked, text = await answered(source, asking("sign"), seats=2, agreed=True)

    assert len(asked) == 3
    assert text == "2 True hello"


@pytest.mark.parametrize("tool", ["book", "greet"])
async def test_a_call_whose_caller_answers_nothing_is_not_asked(source: ToolSource, tool: str) -> None:
    arguments = {"title": "Meeting"} if tool == "book" else {}
    try:
        said = await output(source, replace(invocation(tool), arguments=arguments))
    except (ToolInputRequired, ToolFailed):
        return
    assert said.is_error


async def test_a_call_that_is_closed_while_it_asks_lets_the_next_one_ask(source: ToolSource) -> None:
    async with asyncio.timeout(30), aclosing(source.call(asking("book", title="First"))) as updates:
        async for update in updates:
            if isinstance(update, Asked):
                break
    _, text = await answered(source, asking("book", "next", title="Second"), seats=1)

    assert text == "Second: 1 in red"
