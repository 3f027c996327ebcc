"""Servers that keep calls as tasks of MCP's revision 2025-11-25."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.given import TASK_KEEPER, invocation, running, stdio_source, updates
from threadmesh.conversation import CallProgress, Text
from threadmesh.errors import ToolConnectionLost, ToolFailed, ToolInputRequired
from threadmesh.questions import Answer, AnswerAction
from tools_svc.adapters.mcp_questions import Allowed
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.domain.call import Accepted, Asked, Invocation, Sent, ToolOutput, Update

RENDERED = ToolOutput(parts=(Text(text="rendered"),))
CALL = invocation("render")


def stands(home: Path, status: str, message: str = "") -> None:
    """Say how the server's task stands from now on."""
    (home / "new").write_text(json.dumps({"status": status, "statusMessage": message}))
    (home / "new").rename(home / "status")


def asked(home: Path, method: str) -> int:
    return (home / "log").read_text().splitlines().count(method)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[McpSource]:
    stands(tmp_path, "working", "half way")
    async with running(stdio_source(TASK_KEEPER, str(tmp_path))) as keeper:
        yield keeper


async def followed(source: McpSource, home: Path, *, until_said: str = "half way") -> list[Update]:
    """Make the call; the task is completed once its message was seen."""
    seen = []
    async with asyncio.timeout(30), aclosing(source.call(CALL)) as stream:
        async for update in stream:
            seen.append(update)
            if isinstance(update, CallProgress) and update.message == until_said:
                stands(home, "completed")
    return seen


async def test_a_task_is_made_polled_shown_and_fetched(source: McpSource, tmp_path: Path) -> None:
    seen = await followed(source, tmp_path)

    assert seen[0] == Sent()
    assert Accepted(handle="t1") in seen
    assert seen[-1] == RENDERED
    shown = [update for update in seen if isinstance(update, CallProgress)]
    assert shown[-1] == CallProgress(progress=1, total=2, message="half way")
    assert (asked(tmp_path, "tools/call"), asked(tmp_path, "tasks/result")) == (1, 1)


async def test_a_task_goes_on_over_the_next_connection_and_is_not_made_again(source: McpSource, tmp_path: Path) -> None:
    (tmp_path / "die").touch()

    seen = await followed(source, tmp_path)

    assert (seen[0], seen[-1]) == (Sent(), RENDERED)
    assert not (tmp_path / "die").exists()
    assert (asked(tmp_path, "initialize"), asked(tmp_path, "tools/call")) == (2, 1)


async def test_a_call_that_has_a_handle_is_not_sent(source: McpSource, tmp_path: Path) -> None:
    (tmp_path / "t1").touch()
    stands(tmp_path, "completed")

    assert await updates(source, replace(CALL, handle="t1")) == [Accepted(handle="t1"), RENDERED]
    assert asked(tmp_path, "tools/call") == 0


async def test_a_task_that_the_server_has_forgotten_is_one_of_which_nobody_knows(source: McpSource) -> None:
    with pytest.raises(ToolConnectionLost):
        await updates(source, replace(CALL, handle="gone"))


@pytest.mark.parametrize(("status", "error"), [("cancelled", ToolFailed), ("input_required", ToolInputRequired)])
async def test_a_task_that_does_not_come_to_a_result_says_so(
    source: McpSource, tmp_path: Path, status: str, error: type[Exception]
) -> None:
    stands(tmp_path, status)

    with pytest.raises(error):
        await updates(source, CALL)


async def test_a_task_that_asks_goes_on_with_the_answer(tmp_path: Path) -> None:
    stands(tmp_path, "input_required")
    source = stdio_source(TASK_KEEPER, str(tmp_path), allowed=Allowed(elicitation=True))
    seen = []
    async with asyncio.timeout(30), running(source), aclosing(source.call(replace(CALL, may_ask=True))) as stream:
        async for update in stream:
            seen.append(update)
            if isinstance(update, Asked) and update.reply:
                name = update.questions[0].id
                update.reply([Answer(question_id=name, action=AnswerAction.ACCEPT, content_json='{"colour":"red"}')])

    assert Accepted(handle="t1") in seen
    assert isinstance(last := seen[-1], ToolOutput)
    assert isinstance(part := last.parts[0], Text)
    assert json.loads(part.text) == {"action": "accept", "content": {"colour": "red"}}


async def left(source: McpSource, *, given_up: bool) -> None:
    """Make the call and close it while its task is under way."""
    call = replace(CALL, durable=True, given_up=lambda: given_up)
    async with asyncio.timeout(30), aclosing(source.call(call)) as stream:
        async for update in stream:
            if isinstance(update, CallProgress) and update.message:
                return


async def test_a_call_that_is_given_up_stops_its_task(source: McpSource, tmp_path: Path) -> None:
    await left(source, given_up=True)

    with pytest.raises(ToolFailed):
        await updates(source, replace(CALL, handle="t1"))
    assert asked(tmp_path, "tasks/cancel") == 1


async def test_a_durable_call_that_is_left_goes_on(source: McpSource, tmp_path: Path) -> None:
    await left(source, given_up=False)
    stands(tmp_path, "completed")

    assert (await updates(source, replace(CALL, handle="t1")))[-1] == RENDERED
    assert asked(tmp_path, "tasks/cancel") == 0


@pytest.mark.parametrize(
    ("call", "as_task"),
    [
        (invocation("render", timeout_seconds=1), True),
        (replace(invocation("maybe", timeout_seconds=1), durable=True), True),
        (invocation("maybe", timeout_seconds=3600), True),
        (invocation("maybe", timeout_seconds=30), False),
        (replace(invocation("plain", timeout_seconds=3600), durable=True), False),
    ],
)
async def test_a_call_becomes_a_task_where_the_tool_wants_it_or_the_call_is_long(
    source: McpSource, tmp_path: Path, call: Invocation, as_task: bool
) -> None:
    stands(tmp_path, "completed")

    assert (Accepted(handle="t1") in await updates(source, call)) == as_task
