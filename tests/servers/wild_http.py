"""An older MCP server over streamable HTTP, by hand: it answers each tool's calls with whatever bytes a test likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[Any], bytes]
"""Gives the response to the request of an id."""


@dataclass(slots=True, kw_only=True)
class WildHttp:
    """The tools by how they answer; the calls of `held` wait until one of `fine` comes. `requests` are those so far."""

    answers: Mapping[str, Answer]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        try:
            message = await self._request(reader)
            if message.get("params", {}).get("name") == "fine":
                self.release.set()
            writer.write(await self._response(message))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.decode().lower().partition("content-length:")[2].partition("\r\n")[0] or 0)
        content = await reader.readexactly(length)
        self.requests.append(head + content)
        body = json.loads(content or b"{}")
        return body if isinstance(body, dict) else {}

    async def _response(self, message: dict[str, Any]) -> bytes:
        number = message.get("id")
        match message.get("method"):
            case "initialize":
                info = {"name": "wild", "version": "1"}
                return result(
                    {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}, number
                )
            case "tools/list":
                tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.answers]
                return result({"tools": tools}, number)
            case "tools/call":
                if message["params"]["name"] == "held":
                    await self.release.wait()
                return self.answers[message["params"]["name"]](number)
            case "notifications/initialized":
                return head("202 Accepted", "text/plain", "content-length: 0")
        return head("404 Not Found", "text/plain", "content-length: 0")


@asynccontextmanager
async def wild_http(answers: Mapping[str, Answer]) -> AsyncIterator[WildHttp]:
    """Serve until the block ends."""
    wild = WildHttp(answers=answers)
    server = await asyncio.start_server(wild.serve, "127.0.0.1", 0)
    wild.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        yield wild
    finally:
        wild.release.set()
        server.close()


def head(status: str, kind: str, *more: str) -> bytes:
    """Give the head of a response of this status and type."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"content-type: {kind}", *more, "connection: close", "", ""]).encode()


def result(value: Any, number: Any) -> bytes:
    """Give a whole response with a result."""
    body = json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode()
    return head("200 OK", "application/json", f"content-length: {len(body)}") + body


def said(words: str) -> dict[str, Any]:
    """Give the result of a call: a text."""
    return {"content": [{"type": "text", "text": words}]}
