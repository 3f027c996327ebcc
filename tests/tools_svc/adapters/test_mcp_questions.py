"""Servers that may ask: by the SDK, over revisions that ask in the place of an answer, and those that ask beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from tests.servers.given import QUESTIONER, invocation, output, running, stdio_source
from threadmesh.conversation import Role, Text
from threadmesh.errors import ToolFailed, ToolInputRequired
from threadmesh.questions import Answer, AnswerAction, Form, Question, SamplingRequest
from tools_svc.adapters.mcp_questions import Allowed, question
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.domain.call import Asked, Invocation, ToolOutput, Waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERYTHING = Allowed(elicitation=True, sampling=True)


def _source(kind: str, allowed: Allowed = EVERYTHING) -> AbstractAsyncContextManager[McpSource]:
    return running(stdio_source(QUESTIONER, kind, allowed=allowed))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["stateless", "held"])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[McpSource]:
    async with _source(request.param) as source:
        yield source


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["stateless", "held"])
async def silent(request: pytest.FixtureRequest) -> AsyncIterator[McpSource]:
    """A source whose server may ask nothing."""
    async with _source(request.param, Allowed()) as source:
        yield source


def asking(tool: str, call_id: str = "call", **arguments: Any) -> Invocation:
    return replace(invocation(tool, call_id=call_id, **arguments), may_ask=True)


def answer(asked: Question, action: AnswerAction, content: dict[str, Any] | None = None) -> Answer:
    match asked.asked:
        case SamplingRequest():
            return Answer(question_id=asked.id, action=action, text="hello", model="small")
        case Form():
            return Answer(question_id=asked.id, action=action, content_json=json.dumps(content) if content else "")


async def answered(
    source: McpSource, call: Invocation, *, action: AnswerAction = AnswerAction.ACCEPT, **fields: Any
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


async def test_a_person_is_asked_with_a_form(source: McpSource) -> None:
    (asked,), text = await answered(source, asking("book", title="Meeting"), seats=4, room="blue")

    assert isinstance(asked.asked, Form)
    assert asked.asked.message == "How many seats?"
    assert text == "Meeting: 4 in blue"


@pytest.mark.parametrize("action", [AnswerAction.DECLINE, AnswerAction.CANCEL])
async def test_a_server_hears_that_nobody_wants_to_answer(source: McpSource, action: AnswerAction) -> None:
    _, text = await answered(source, asking("book", title="Meeting"), action=action)

    assert text == f"Meeting: {action}"


async def test_a_model_is_asked_with_a_conversation(source: McpSource) -> None:
    (asked,), text = await answered(source, asking("greet"))

    assert isinstance(asked.asked, SamplingRequest)
    assert [(each.role, each.text) for each in asked.asked.messages] == [
        (Role.SYSTEM, "Be brief."),
        (Role.USER, "Say hello."),
    ]
    assert asked.asked.max_tokens == 20
    assert text == "small says hello"


async def test_a_call_may_ask_several_questions(source: McpSource) -> None:
    asked, text = await answered(source, asking("sign"), seats=2, agreed=True)

    assert len(asked) == 3
    assert text == "2 True hello"


async def test_a_model_that_does_not_answer_ends_the_call(source: McpSource) -> None:
    with pytest.raises((ToolInputRequired, ToolFailed, AssertionError)) as failure:
        _, text = await answered(source, asking("greet"), action=AnswerAction.DECLINE)
        assert "no model answered" not in text

    assert "no model answered" in str(failure.value)


async def test_only_forms_and_plain_conversations_are_declared(source: McpSource) -> None:
    _, text = await answered(source, asking("declared"))

    told = json.loads(text)
    assert (told["elicitation"], told["sampling"]) == ({"form": {}}, {})
    assert "roots" not in told


@pytest.mark.parametrize("tool", ["book", "greet"])
async def test_a_call_whose_caller_answers_nothing_is_not_asked(source: McpSource, tool: str) -> None:
    arguments = {"title": "Meeting"} if tool == "book" else {}
    try:
        said = await output(source, replace(invocation(tool), arguments=arguments))
    except (ToolInputRequired, ToolFailed):
        return
    assert said.is_error


async def test_a_server_that_may_ask_nothing_declares_nothing(silent: McpSource) -> None:
    _, text = await answered(silent, asking("declared"))

    assert not {"elicitation", "sampling", "roots"} & json.loads(text).keys()


async def test_calls_that_could_ask_beside_each_other_go_one_at_a_time() -> None:
    async with _source("held") as held, aclosing(held.call(asking("book", title="First"))) as first:
        async for update in first:
            if isinstance(update, Asked):
                break
        assert isinstance(update, Asked)
        assert update.reply is not None
        second = held.call(asking("book", "other", title="Second"))
        assert await anext(second) == Waiting()
        await second.aclose()
        update.reply([answer(update.questions[0], AnswerAction.ACCEPT, {"seats": 1})])
        *_, last = [each async for each in first]

    assert isinstance(last, ToolOutput)
    assert last.parts == (Text(text="First: 1 in red"),)


FORM: dict[str, Any] = {"message": "m", "requestedSchema": {"type": "object", "properties": {}}}
ASKS: dict[str, Any] = {"messages": [{"role": "user", "content": {"type": "text", "text": "t"}}], "maxTokens": 5}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("elicitation/create", FORM | {"mode": "url", "url": "https://example.com"}),
        ("elicitation/create", FORM | {"requestedSchema": {"type": "object", "properties": {"a": {"type": "object"}}}}),
        ("elicitation/create", FORM | {"message": "m" * 8_001}),
        ("sampling/createMessage", ASKS | {"tools": [{"name": "t"}]}),
        ("sampling/createMessage", ASKS | {"messages": []}),
        ("sampling/createMessage", ASKS | {"maxTokens": 0}),
        ("sampling/createMessage", ASKS | {"messages": [{"role": "system", "content": {"type": "text", "text": "t"}}]}),
        ("sampling/createMessage", ASKS | {"messages": [{"role": "user", "content": {"type": "image", "data": ""}}]}),
        ("sampling/createMessage", ASKS | {"systemPrompt": "s" * 70_000}),
        ("roots/list", {}),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_the_reason(method: str, params: dict[str, Any]) -> None:
    with pytest.raises(ToolInputRequired, match="not given"):
        question("q", {"method": method, "params": params}, EVERYTHING)


@pytest.mark.parametrize(
    ("method", "params", "allowed"),
    [
        ("elicitation/create", FORM, Allowed(sampling=True)),
        ("sampling/createMessage", ASKS, Allowed(elicitation=True)),
    ],
)
async def test_what_the_servers_file_does_not_let_a_server_ask_is_refused(
    method: str, params: dict[str, Any], allowed: Allowed
) -> None:
    assert question("q", {"method": method, "params": params}, EVERYTHING).id == "q"
    with pytest.raises(ToolInputRequired, match="servers file"):
        question("q", {"method": method, "params": params}, allowed)
