"""HTTP servers that misbehave below MCP: each costs the call it answers, and never more."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.servers.given import invocation, mcp_source, output, running, updates
from tests.servers.wild_http import Answer, head, result, said, wild_http
from tests.tools_svc.domain.given import Ledger
from threadmesh.breaker import Breaker
from threadmesh.conversation import Text
from threadmesh.errors import (
    MeshError,
    Overloaded,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
    ToolServerFailed,
    ToolServerResting,
)
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.server_config import HttpServer
from tools_svc.domain.call import ToolOutput
from tools_svc.domain.guarded_source import GuardedSource
from tools_svc.domain.tool import ServerState

HUGE = 5_000_000
LINE = b"data: " + b"x" * 100 + b"\n"


def _error(number: Any) -> bytes:
    error = {"code": -32603, "message": "a fault of its own"}
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode()


def _events(before: bytes, number: Any) -> bytes:
    answer = json.dumps({"jsonrpc": "2.0", "id": number, "result": said("slow")}).encode()
    return head("200 OK", "text/event-stream") + before + b"data: " + answer + b"\n\n"


def _begun(data: bytes) -> bytes:
    return head("200 OK", "text/event-stream") + b"event: message\ndata: " + data + b"x" * HUGE


def _bomb(number: Any) -> bytes:
    body = gzip.compress(result(said("x" * 50_000_000), number).partition(b"\r\n\r\n")[2])
    return head("200 OK", "application/json", "content-encoding: gzip", f"content-length: {len(body)}") + body


ANSWERS: dict[str, Answer] = {
    "fine": lambda number: result(said("fine"), number),
    "held": lambda number: result(said("held"), number),
    "gzip_bomb": _bomb,
    "endless_json": lambda _: head("200 OK", "application/json") + b'{"jsonrpc": "' + b"x" * HUGE,
    "endless_line": lambda _: _begun(b'{"jsonrpc": "2.0", "id": 0, "result": "'),
    "endless_notification": lambda _: _begun(b'{"method": "notifications/message", "params": "'),
    "endless_events": lambda _: head("200 OK", "text/event-stream") + b"event: message\n" + LINE * 50_000,
    "dropped": lambda _: b"",
    "cut": lambda _: head("200 OK", "application/json", "content-length: 1000") + b'{"jsonrpc"',
    "unauthorized": lambda _: head("401 Unauthorized", "text/plain"),
    "too_many": lambda _: head("429 Too Many Requests", "text/plain", "retry-after: 3"),
    "html": lambda _: head("200 OK", "text/html") + b"<html>",
    "redirect": lambda _: head("307 Temporary Redirect", "text/plain", "location: http://127.0.0.2:9/"),
    "broken_json": lambda _: head("200 OK", "application/json", "content-length: 3") + b"{{{",
    "forbidden": lambda _: head("403 Forbidden", "text/plain"),
    "bad_request": lambda _: head("400 Bad Request", "text/plain"),
    "too_large": lambda _: head("413 Content Too Large", "text/html") + b"<html>",
    "bad_gateway": lambda _: head("502 Bad Gateway", "text/html") + b"<html>",
    "gateway_timeout": lambda _: head("504 Gateway Timeout", "text/plain"),
    "gateway_json": lambda _: head("502 Bad Gateway", "application/json") + b'{"message": "no healthy upstream"}',
    "gateway_events": lambda _: head("503 Service Unavailable", "text/event-stream") + b"data: {}\n\n",
    "gateway_huge": lambda _: head("502 Bad Gateway", "application/json") + b"x" * HUGE,
    "comments": lambda number: _events(b":\n" * 60_000, number),
    "blank_lines": lambda number: _events(b"\n" * 2_200, number),
    "own_error": lambda number: head("500 Internal Server Error", "application/json") + _error(number),
    "accepted": lambda _: head("202 Accepted", "text/plain", "content-length: 0"),
    "no_content": lambda _: head("204 No Content", "text/plain"),
    "no_kind": lambda _: b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
}


@pytest.fixture
async def source() -> AsyncIterator[McpSource]:
    async with wild_http(ANSWERS) as server, running(mcp_source(HttpServer(url=server.url))) as wild:
        yield wild


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("gzip_bomb", ToolConnectionLost),
        ("endless_json", ToolResultTooLarge),
        ("endless_line", ToolResultTooLarge),
        ("endless_notification", ToolConnectionLost),
        ("endless_events", ToolConnectionLost),
        ("dropped", ToolConnectionLost),
        ("cut", ToolConnectionLost),
        ("unauthorized", ToolAuthenticationFailed),
        ("too_many", Overloaded),
        ("html", ToolConnectionLost),  # whoever speaks no MCP cannot say whether a server behind it took the call
        ("no_kind", ToolConnectionLost),
        ("accepted", ToolConnectionLost),
        ("no_content", ToolConnectionLost),
        ("bad_gateway", ToolConnectionLost),
        ("gateway_timeout", ToolConnectionLost),
        ("gateway_json", ToolConnectionLost),
        ("gateway_events", ToolConnectionLost),
        ("gateway_huge", ToolConnectionLost),
        ("own_error", ToolServerFailed),
        ("bad_request", ToolFailed),
        ("too_large", ToolFailed),
        ("forbidden", ToolAuthenticationFailed),
        ("redirect", ToolFailed),
        ("broken_json", ToolConnectionLost),
    ],
)
async def test_a_bad_answer_ends_its_call_and_leaves_the_one_beside_it(
    source: McpSource, tool: str, error: type[MeshError]
) -> None:
    """The SDK would end the connection for some of these, and cancel whoever waits on it."""
    beside = asyncio.create_task(output(source, invocation("held")))
    with pytest.raises(error):
        await updates(source, invocation(tool))

    await output(source, invocation("fine"))

    assert (await beside).parts == (Text(text="held"),)
    assert source.status.state is ServerState.READY


@pytest.mark.parametrize("tool", ["bad_gateway", "accepted", "html"])
async def test_a_server_that_gives_no_answers_is_left_alone(source: McpSource, tool: str) -> None:
    guarded = GuardedSource(source, Breaker(FakeClock()), clock=FakeClock(), listener=Ledger())
    for _ in range(5):
        with pytest.raises(ToolConnectionLost):
            await updates(guarded, invocation(tool))

    with pytest.raises(ToolServerResting):
        guarded.check()


@pytest.mark.parametrize("tool", ["unauthorized", "forbidden", "too_many", "bad_request", "own_error"])
async def test_a_server_that_refuses_calls_is_not_left_alone(source: McpSource, tool: str) -> None:
    guarded = GuardedSource(source, Breaker(FakeClock()), clock=FakeClock(), listener=Ledger())
    for _ in range(25):
        with pytest.raises((ToolFailed, ToolAuthenticationFailed, Overloaded)):
            await updates(guarded, invocation(tool))

    assert isinstance((await updates(guarded, invocation("fine")))[-1], ToolOutput)


@pytest.mark.parametrize("tool", ["comments", "blank_lines"])
async def test_a_flood_of_what_answers_nothing_is_read_at_a_bearable_pace(source: McpSource, tool: str) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert (await output(source, invocation(tool))).parts == (Text(text="slow"),)
    assert loop.time() - began >= 0.8  # what 60,000 lines, or 200 events too many, take at the least
