"""An MCP server of the older HTTP with SSE, by hand: it answers each tool's calls with whatever bytes a test likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

OPENED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
NAMED = OPENED + b"event: endpoint\ndata: /messages?session_id=1\n\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Answer = Callable[[Any], bytes]
"""Gives what comes by the stream for the call of an id."""


@dataclass(slots=True, kw_only=True)
class WildSse:
    """Tools by what the POST of a call is replied, where that is not `ACCEPTED`, and by what the stream then brings.

    Those with a reply of their own bring nothing unless they have an answer, too; `ended` ends the stream. The calls of
    `held` wait until one of `fine` comes. `requests` are those so far.
    """

    replies: Mapping[str, bytes]
    answers: Mapping[str, Answer]
    opening: bytes = NAMED
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    stream: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.decode().lower().partition("content-length:")[2].partition("\r\n")[0] or 0)
            content = await reader.readexactly(length)
            self.requests.append(head + content)
            if head.startswith(b"GET"):
                self.stream = writer
                writer.write(self.opening)
                await reader.read()
            else:
                await self._answer(json.loads(content), writer)
        writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        tool = message.get("params", {}).get("name", "")
        writer.write(self.replies.get(tool, ACCEPTED))
        assert self.stream is not None
        if tool == "held":
            await self.release.wait()
        elif tool == "fine":
            self.release.set()
        if tool == "ended":
            self.stream.close()
        elif "id" in message:
            self.stream.write(self._said(message, tool))

    def _said(self, message: dict[str, Any], tool: str) -> bytes:
        number = message["id"]
        match message["method"]:
            case "initialize":
                info = {"name": "wild", "version": "1"}
                return event(
                    {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": info}, number
                )
            case "tools/list":
                names = {*self.replies, *self.answers, "ended"}
                return event({"tools": [{"name": each, "inputSchema": {"type": "object"}} for each in names]}, number)
            case "tools/call":
                return self.answers[tool](number) if tool in self.answers else b""
        error = {"code": -32601, "message": "no such method"}
        return b"data: " + json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode() + b"\n\n"


@asynccontextmanager
async def wild_sse(
    answers: Mapping[str, Answer], replies: Mapping[str, bytes] | None = None, opening: bytes = NAMED
) -> AsyncIterator[WildSse]:
    """Serve until the block ends."""
    wild = WildSse(answers=answers, replies=replies or {}, opening=opening)
    server = await asyncio.start_server(wild.serve, "127.0.0.1", 0)
    wild.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/sse"
    try:
        yield wild
    finally:
        wild.release.set()
        server.close()


def event(result: Any, number: Any) -> bytes:
    """Give the event of a result."""
    text = json.dumps({"jsonrpc": "2.0", "id": number, "result": result})
    return b"event: message\r\ndata: " + text.encode() + b"\r\n\r\n"
