"""Servers of the older HTTP with SSE that misbehave: each costs the call it answers, or says why it is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.servers.given import invocation, mcp_source, output, running, until, updates
from threadmesh.conversation import Text
from threadmesh.errors import (
    MeshError,
    Overloaded,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
)
from tools_svc.adapters.server_config import SseServer
from tools_svc.domain.tool import ServerState

HUGE = 5_000_000
OPENED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
REPLIES: dict[str, bytes] = {
    "unauthorized": b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "too_many": b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "broken": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "redirect": b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "dropped": b"",
}
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
ENDLESS = b"HTTP/1.1 202 Accepted\r\ncontent-length: 100000000\r\nconnection: close\r\n\r\n" + b"x" * HUGE
TOOLS = ["fine", "huge", "held", "endless_reply", "not_json", "ended", *REPLIES]


def _event(result: Any, number: Any) -> bytes:
    return (
        b"event: message\r\ndata: "
        + json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
        + b"\r\n\r\n"
    )


def _text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


class _Wild:
    """An older MCP server by hand, with a tool for every way to answer wrongly."""

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self._stream: asyncio.StreamWriter | None = None
        self._release = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if head.startswith("get"):
                self._stream = writer
                writer.write(self._opening)
                await reader.read()
            else:
                length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                await self._answer(json.loads(await reader.readexactly(length)), writer)
        writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        tool = message.get("params", {}).get("name", "")
        writer.write(REPLIES.get(tool, ENDLESS if tool == "endless_reply" else ACCEPTED))
        assert self._stream is not None
        if tool == "held":
            await self._release.wait()
        elif tool == "fine":
            self._release.set()
        if tool == "ended":
            self._stream.close()
        elif tool not in REPLIES and "id" in message:
            self._stream.write(self._event(message, tool))

    def _event(self, message: dict[str, Any], tool: str) -> bytes:
        number = message["id"]
        match message["method"]:
            case "initialize":
                info = {"name": "wild", "version": "1"}
                return _event(
                    {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": info}, number
                )
            case "tools/list":
                return _event({"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}, number)
            case "tools/call" if tool == "not_json":
                return b"data: {{{\n\n"
            case "tools/call":
                return _event(_text("x" * HUGE if tool == "huge" else tool), number)
        error = {"code": -32601, "message": "no such method"}
        return b"data: " + json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode() + b"\n\n"


@asynccontextmanager
async def _server(
    opening: bytes = OPENED + b"event: endpoint\ndata: /messages?session_id=1\n\n",
) -> AsyncIterator[SseServer]:
    server = await asyncio.start_server(_Wild(opening).serve, "127.0.0.1", 0)
    try:
        yield SseServer(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/sse")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ("huge", ToolResultTooLarge),
        ("unauthorized", ToolAuthenticationFailed),
        ("too_many", Overloaded),
        ("broken", ToolConnectionLost),
        ("redirect", ToolFailed),
        ("dropped", ToolConnectionLost),
    ],
)
async def test_a_bad_answer_ends_its_call_and_leaves_the_one_beside_it(tool: str, error: type[MeshError]) -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        beside = asyncio.create_task(output(source, invocation("held")))
        with pytest.raises(error):
            await updates(source, invocation(tool))
        await output(source, invocation("fine"))

        assert (await beside).parts == (Text(text="held"),)
        assert source.status.state is ServerState.READY
        assert source.status.protocol_version == "2024-11-05"


async def test_a_reply_without_end_is_not_read_and_the_answer_comes_by_the_stream() -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        assert (await output(source, invocation("endless_reply"))).parts == (Text(text="endless_reply"),)


@pytest.mark.parametrize("tool", ["not_json", "ended"])
async def test_a_stream_that_breaks_ends_its_calls_and_is_opened_again(tool: str) -> None:
    async with _server() as server, running(mcp_source(server)) as source:
        with pytest.raises(ToolConnectionLost):
            await updates(source, invocation(tool))
        await until(source, ServerState.READY)

        assert (await output(source, invocation("fine"))).parts == (Text(text="fine"),)


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (OPENED + b"event: endpoint\ndata: http://127.0.0.2:9/messages\n\n", "to another server"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n", "compresses"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "status 200"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "status 302",
        ),
        (b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "status 405"),
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "credentials"),
    ],
)
async def test_a_server_whose_stream_does_not_open_is_unavailable_and_says_why(opening: bytes, words: str) -> None:
    async with (
        _server(opening) as server,
        running(mcp_source(server, connect_seconds=5), state=ServerState.UNAVAILABLE) as source,
    ):
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert words in status.failure.message


@pytest.mark.parametrize("opening", [b"", OPENED, OPENED + b": wait\n\n"])
async def test_a_server_that_names_no_address_for_messages_is_given_up(opening: bytes) -> None:
    async with (
        _server(opening) as server,
        running(mcp_source(server, connect_seconds=0.2), state=ServerState.UNAVAILABLE) as source,
    ):
        status = await until(source, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert status.failure.reason == "DEADLINE_EXCEEDED"
