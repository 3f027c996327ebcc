"""HTTP servers that misbehave below MCP: each costs the call it answers, and never more."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.servers.given import invocation, mcp_source, output, running, updates
from threadmesh.conversation import Text
from threadmesh.errors import (
    MeshError,
    Overloaded,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
)
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.server_config import HttpServer
from tools_svc.domain.tool import ServerState

Writer = asyncio.StreamWriter
TOOLS = [
    "fine", "gzip_bomb", "endless_json", "endless_line", "endless_events", "dropped", "cut", "unauthorized",
    "too_many", "html", "redirect", "broken_json", "held",
]  # fmt: skip
HUGE = 5_000_000


def _head(status: str, kind: str, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"content-type: {kind}", *more, "connection: close", "", ""]).encode()


def _json(result: Any, number: Any = 0) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
    return _head("200 OK", "application/json", f"content-length: {len(body)}") + body


def _text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def _bomb(number: Any) -> bytes:
    body = gzip.compress(_json(_text("x" * 50_000_000), number).partition(b"\r\n\r\n")[2])
    return _head("200 OK", "application/json", "content-encoding: gzip", f"content-length: {len(body)}") + body


ANSWERS: dict[str, Callable[[Any], bytes]] = {
    "fine": lambda number: _json(_text("fine"), number),
    "gzip_bomb": _bomb,
    "endless_json": lambda _: _head("200 OK", "application/json") + b'{"jsonrpc": "' + b"x" * HUGE,
    "endless_line": lambda _: _head("200 OK", "text/event-stream") + b"event: message\ndata: " + b"x" * HUGE,
    "endless_events": lambda _: _head("200 OK", "text/event-stream") + b"event: message\n" + b"data: x\n" * 800_000,
    "dropped": lambda _: b"",
    "cut": lambda _: _head("200 OK", "application/json", "content-length: 1000") + b'{"jsonrpc"',
    "unauthorized": lambda _: _head("401 Unauthorized", "text/plain"),
    "too_many": lambda _: _head("429 Too Many Requests", "text/plain", "retry-after: 3"),
    "html": lambda _: _head("200 OK", "text/html") + b"<html>",
    "redirect": lambda _: _head("307 Temporary Redirect", "text/plain", "location: http://127.0.0.2:9/"),
    "broken_json": lambda _: _head("200 OK", "application/json", "content-length: 3") + b"{{{",
}


async def _request(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
    body = json.loads(await reader.readexactly(length) or b"{}") if length else {}
    return body if isinstance(body, dict) else {}


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    """Serve an older MCP by hand, with a tool for every way to answer wrongly."""
    release = asyncio.Event()

    async def answer(message: dict[str, Any]) -> bytes:
        number = message.get("id")
        match message.get("method"):
            case "initialize":
                info = {"name": "wild", "version": "1"}
                return _json(
                    {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}, number
                )
            case "tools/list":
                return _json({"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}, number)
            case "tools/call" if message["params"]["name"] == "held":
                await release.wait()
                return _json(_text("held"), number)
            case "tools/call":
                return ANSWERS[message["params"]["name"]](number)
            case "notifications/initialized":
                return _head("202 Accepted", "text/plain", "content-length: 0")
        return _head("404 Not Found", "text/plain", "content-length: 0")

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            message = await _request(reader)
            if message.get("params", {}).get("name") == "fine":
                release.set()
            writer.write(await answer(message))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        release.set()
        server.close()


@pytest.fixture
async def source() -> AsyncIterator[McpSource]:
    async with _server() as url, running(mcp_source(HttpServer(url=url))) as wild:
        yield wild


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("gzip_bomb", ToolConnectionLost),
        ("endless_json", ToolResultTooLarge),
        ("endless_line", ToolResultTooLarge),
        ("endless_events", ToolConnectionLost),
        ("dropped", ToolConnectionLost),
        ("cut", ToolConnectionLost),
        ("unauthorized", ToolAuthenticationFailed),
        ("too_many", Overloaded),
        ("html", ToolFailed),
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
