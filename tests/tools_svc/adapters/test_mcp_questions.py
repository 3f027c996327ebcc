"""Servers that may ask: by the SDK, over revisions that ask in the place of an answer, and those that ask beside it."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest
import pytest_asyncio

from tests.contracts.test_asking_source import EVERYTHING, answer, answered, asking
from tests.servers.given import QUESTIONER, running, stdio_source
from threadmesh.conversation import Text
from threadmesh.errors import ToolFailed, ToolInputRequired
from threadmesh.questions import AnswerAction
from tools_svc.adapters.mcp_questions import Allowed, question
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.domain.call import Asked, ToolOutput, Waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_a_model_that_does_not_answer_ends_the_call(source: McpSource) -> None:
    try:
        _, text = await answered(source, asking("greet"), action=AnswerAction.DECLINE)
    except (ToolInputRequired, ToolFailed) as error:
        text = error.message

    assert "no model answered" in text


async def test_only_forms_and_plain_conversations_are_declared(source: McpSource) -> None:
    _, text = await answered(source, asking("declared"))

    told = json.loads(text)
    assert (told["elicitation"], told["sampling"]) == ({"form": {}}, {})
    assert "roots" not in told


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
