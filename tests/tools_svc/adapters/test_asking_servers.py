"""Servers that want something of their client: a person's input, a model's words, directories."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.servers.given import ASKING, invocation, output, running, stdio_source
from threadmesh.conversation import Text
from tools_svc.adapters.mcp_source import McpSource

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking() -> AsyncIterator[McpSource]:
    async with running(stdio_source(ASKING)) as source:
        yield source


async def _answered(source: McpSource, **arguments: Any) -> Any:
    answer = await output(source, invocation("ask", **arguments))
    return json.loads("".join(part.text for part in answer.parts if isinstance(part, Text)))


async def test_a_server_is_told_that_nobody_answers_its_questions(asking: McpSource) -> None:
    declared = await _answered(asking)

    assert not {"elicitation", "sampling", "roots"} & declared.keys()


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list", "made/up"])
async def test_one_that_asks_all_the_same_gets_an_error_and_its_call_goes_on(asking: McpSource, method: str) -> None:
    told = await _answered(asking, method=method)

    assert told["code"] in (-32600, -32601, -32602)
    assert (await _answered(asking, method="ping")) == {"answer": {}}
