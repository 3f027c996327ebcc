"""The MCP transport over streamable HTTP, with what the SDK's own lets through kept out.

A failed request costs that request only: the SDK would end the connection, and with it every other call on it. So what
fails below JSON-RPC is turned into a JSON-RPC error with one of our codes. Bodies are bounded and never decompressed.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from mcp.client import Transport
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp_types import JSONRPCError, jsonrpc_message_adapter

from threadmesh.errors import ToolConnectionLost, ToolServerUnavailable
from tools_svc.adapters import json_rpc
from tools_svc.adapters.framing import LARGEST_MESSAGE_BYTES, Framer, Oversized
from tools_svc.adapters.guarded_network import GuardedTransport
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_errors import AUTHENTICATION, LOST, NOT_SENT, RATE_LIMITED, RESULT_TOO_LARGE, no_answer
from tools_svc.adapters.pace import Pace
from tools_svc.adapters.secrets import expand
from tools_svc.adapters.server_config import HttpServer

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 24 * 3600.0  # as long as any call may take; each has its own, shorter limit
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


def http_transport(server: HttpServer, lifeline: Lifeline) -> Transport:
    """Make a transport to the server; nothing is sent before the session does."""
    return _transport(server, lifeline)


@asynccontextmanager
async def _transport(server: HttpServer, lifeline: Lifeline) -> AsyncGenerator[Any]:
    client = httpx2.AsyncClient(
        transport=_GuardedTransport(GuardedTransport(private_network=server.private_network), lifeline),
        headers={"accept-encoding": "identity"} | {name: expand(value) for name, value in server.headers.items()},
        timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        follow_redirects=False,
    )
    async with (
        client,
        streamable_http_client(expand(server.url), http_client=client, max_sse_event_size=LARGEST_MESSAGE_BYTES) as (
            incoming,
            outgoing,
        ),
    ):
        yield incoming, outgoing


class _GuardedTransport(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, lifeline: Lifeline) -> None:
        self._inner = inner
        self._lifeline = lifeline

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
            return await self._examined(request, response)
        except _NEVER_SENT as error:
            self._lifeline.cut(ToolServerUnavailable(f"The tool's server cannot be reached: {error}."))
            return _failure(NOT_SENT, "not reached")
        except httpx2.TransportError as error:
            return _failure(LOST, type(error).__name__)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _examined(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        refusal = self._refusal(request, response)
        if refusal is not None:
            await response.aclose()
            return refusal
        if response.status_code >= 500:
            return await _troubled(response)
        if _is_json(response):
            return await _bounded(response)
        if _is_event_stream(response):
            return _with(response, stream=_BoundedEvents(response))
        if request.method == "POST" and response.is_success:
            # What a notification is answered, the SDK does not look at; to a request this is no answer.
            await response.aclose()
            return _failure(*no_answer(response.status_code))
        return response

    def _refusal(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response | None:
        if response.status_code in (401, 403):
            return _failure(AUTHENTICATION, f"status {response.status_code}")
        if response.status_code == 429:
            return _failure(RATE_LIMITED, response.headers.get("retry-after", ""))
        if response.status_code == 404 and MCP_SESSION_ID in request.headers:
            self._lifeline.cut(ToolConnectionLost("The tool's server has forgotten the session."))
            return _failure(NOT_SENT, "session forgotten")
        if response.headers.get("content-encoding", "identity") != "identity":
            return _failure(LOST, "compressed although asked not to")
        return None


class _BoundedEvents(httpx2.AsyncByteStream):
    """Passes server-sent events on in whole lines, at a bearable pace.

    A line that is too long becomes an error, and the stream ends: one that says that the result is too large, if the
    line is for certain a result, and otherwise that nobody knows what came of the call.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        framer, pace = Framer(LARGEST_MESSAGE_BYTES), Pace()
        async for chunk in _raw(self._response):
            await pace.read_lines(chunk)
            lines: list[bytes] = []
            for line in framer.feed(chunk):
                if isinstance(line, Oversized):
                    yield b"\n".join([*lines, _too_large(line)])
                    return
                lines.append(line)
                if not line.strip():
                    await pace.step()
                    yield b"\n".join([*lines, b""])
                    lines.clear()
            if lines:
                yield b"\n".join([*lines, b""])
            if framer.pending > LARGEST_MESSAGE_BYTES:
                yield _too_large(framer.abandoned())
                return

    async def aclose(self) -> None:
        await self._response.aclose()


def _is_json(response: httpx2.Response) -> bool:
    """Whether the SDK takes it for JSON, which goes by how the type begins."""
    return _content_type(response).startswith("application/json")


def _is_event_stream(response: httpx2.Response) -> bool:
    return _content_type(response).partition(";")[0].strip() == "text/event-stream"


def _content_type(response: httpx2.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.lower()


async def _troubled(response: httpx2.Response) -> httpx2.Response:
    """Pass the server's own JSON-RPC error on; what else comes with such a status may come from a proxy before it.

    Then nobody knows whether the server took the request, and whether it has done it.
    """
    body = await _body(response) if _is_json(response) else None
    await response.aclose()
    if body is None or not _is_error(body):
        return _failure(*no_answer(response.status_code))
    return _with(response, content=body)


async def _bounded(response: httpx2.Response) -> httpx2.Response:
    """Read a whole JSON body, which the SDK would do without a limit and with errors that end the connection."""
    body = await _body(response)
    await response.aclose()
    if body is None:
        return _failure(RESULT_TOO_LARGE, f"more than {LARGEST_MESSAGE_BYTES} bytes")
    return _with(response, content=body)


async def _body(response: httpx2.Response) -> bytes | None:
    """Read a body to its end; None if it is too large."""
    body, pace = bytearray(), Pace()
    async for chunk in _raw(response):
        await pace.read(len(chunk))
        body += chunk
        if len(body) > LARGEST_MESSAGE_BYTES:
            return None
    return bytes(body)


def _is_error(body: bytes) -> bool:
    try:
        return isinstance(jsonrpc_message_adapter.validate_json(body, by_name=False), JSONRPCError)
    except ValueError:
        return False


def _with(response: httpx2.Response, **body: Any) -> httpx2.Response:
    """Give the response with another body."""
    framing = (b"transfer-encoding", b"content-length")
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in framing]
    return httpx2.Response(response.status_code, headers=headers, extensions=response.extensions, **body)


async def _raw(response: httpx2.Response) -> AsyncIterator[bytes]:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    async for chunk in response.stream:
        yield chunk


def _failure(code: int, message: str) -> httpx2.Response:
    return httpx2.Response(503, headers={"content-type": "application/json"}, content=_error(code, message))


def _error(code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()


def _too_large(line: Oversized) -> bytes:
    data = replace(line, head=line.head.removeprefix(b"data:"))
    code = RESULT_TOO_LARGE if json_rpc.answers(data) else LOST
    return b"data: " + _error(code, f"more than {LARGEST_MESSAGE_BYTES} bytes") + b"\n\n"
