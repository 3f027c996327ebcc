"""The MCP transport of revision 2024-11-05: one endless stream of events from the server, and a POST for each message.

Ours instead of the SDK's because that one sends message after message, so that a slow POST holds up every call, and
keeps a failed one to itself, so that its call waits for its deadline. Bodies are bounded and never decompressed.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client import Transport
from mcp.shared.message import SessionMessage

from threadmesh.errors import ToolAuthenticationFailed, ToolConnectionLost, ToolServerUnavailable
from tools_svc.adapters import json_rpc
from tools_svc.adapters.framing import LARGEST_MESSAGE_BYTES
from tools_svc.adapters.guarded_network import GuardedTransport
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_errors import AUTHENTICATION, LOST, NOT_SENT, RATE_LIMITED, no_answer
from tools_svc.adapters.pace import Pace
from tools_svc.adapters.secrets import expand
from tools_svc.adapters.server_config import SseServer
from tools_svc.adapters.server_events import EventFramer, ServerEvent

_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 24 * 3600.0  # as long as any call may take; each has its own, shorter limit
_POST_SECONDS = 30.0
_LARGEST_REPLY_BYTES = 64 * 1024
_LARGEST_DISCARDED_BYTES = 64 * 1024 * 1024
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_CLOSED = (anyio.BrokenResourceError, anyio.ClosedResourceError)

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


def sse_transport(name: str, server: SseServer, lifeline: Lifeline) -> Transport:
    """Make a transport that opens the stream when it is entered; raises then what keeps it from opening."""
    return _transport(name, server, lifeline)


@asynccontextmanager
async def _transport(name: str, server: SseServer, lifeline: Lifeline) -> AsyncGenerator[Any]:
    client = httpx2.AsyncClient(
        transport=GuardedTransport(private_network=server.private_network),
        headers={"accept-encoding": "identity"} | {name: expand(value) for name, value in server.headers.items()},
        timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        follow_redirects=False,
    )
    async with client, _stream(client, expand(server.url)) as response:
        events = _events(response)
        endpoint = await _endpoint(server.url, events)
        incoming, session_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        session_writes, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        poster = _Poster(client, endpoint, incoming, lifeline)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_read, name, events, incoming, lifeline, poster)
                tasks.start_soon(poster.run, outgoing)
                yield session_reads, session_writes
                tasks.cancel_scope.cancel()
        finally:
            for stream in (incoming, session_reads, session_writes, outgoing):
                stream.close()


@asynccontextmanager
async def _stream(client: httpx2.AsyncClient, url: str) -> AsyncGenerator[httpx2.Response]:
    """Open the stream of events."""
    request = client.build_request("GET", url, headers={"accept": "text/event-stream", "cache-control": "no-store"})
    try:
        response = await client.send(request, stream=True)
    except httpx2.TransportError as error:
        raise ToolServerUnavailable(f"The tool's server cannot be reached: {error}.") from error
    try:
        _check(response)
        yield response
    finally:
        await response.aclose()


def _check(response: httpx2.Response) -> None:
    if response.status_code in (401, 403):
        raise ToolAuthenticationFailed
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 200 or kind != "text/event-stream":
        raise ToolServerUnavailable(f"The tool's server gave no stream of events but status {response.status_code}.")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ToolServerUnavailable("The tool's server compresses its stream although asked not to.")


async def _events(response: httpx2.Response) -> AsyncIterator[ServerEvent]:
    """Give the events; raises `ToolConnectionLost` at the end of the stream."""
    framer, pace = EventFramer(LARGEST_MESSAGE_BYTES), Pace()
    try:
        async for chunk in response.aiter_raw():
            await pace.read_lines(chunk)
            for event in framer.feed(chunk):
                yield event
            if framer.pending > _LARGEST_DISCARDED_BYTES:
                yield ServerEvent(kind="message", data=framer.abandoned())
                raise ToolConnectionLost("The tool's server sent a message without end.")
    except httpx2.TransportError as error:
        raise ToolConnectionLost(f"The tool's server broke off its stream: {type(error).__name__}.") from error
    raise ToolConnectionLost("The tool's server ended its stream.")


async def _endpoint(url: str, events: AsyncIterator[ServerEvent]) -> str:
    """Give the address for messages, which must be of the stream's own origin: it is told every secret header."""
    async for event in events:
        if event.kind == "endpoint" and isinstance(event.data, bytes):
            endpoint = urljoin(url, event.data.decode(errors="replace"))
            if urlsplit(endpoint)[:2] != urlsplit(url)[:2]:
                raise ToolServerUnavailable("The tool's server wants its messages sent to another server.")
            return endpoint
    raise ToolConnectionLost


async def _read(
    name: str, events: AsyncIterator[ServerEvent], incoming: Incoming, lifeline: Lifeline, poster: "_Poster"
) -> None:
    pace = Pace()
    with incoming:
        try:
            async for event in events:
                message = json_rpc.message(name, event.data) if event.kind == "message" else None
                if message is None or not poster.answered(message.message):
                    await pace.step()
                if message is not None:
                    await incoming.send(message)
        except ToolConnectionLost as error:
            lifeline.cut(error)
        except _CLOSED:
            lifeline.cut(ToolConnectionLost())


class _Poster:
    """Sends messages; a request that fails is answered with an error, and costs no other."""

    def __init__(self, client: httpx2.AsyncClient, endpoint: str, incoming: Incoming, lifeline: Lifeline) -> None:
        self._client = client
        self._endpoint = endpoint
        self._incoming = incoming
        self._lifeline = lifeline
        self._owed = 0

    def answered(self, message: types.JSONRPCMessage) -> bool:
        """Take note of what the server says; whether it is an answer of as many as there were requests."""
        owed = self._owed > 0 and isinstance(message, types.JSONRPCResponse | types.JSONRPCError)
        self._owed -= owed
        return owed

    async def run(self, outgoing: Outgoing) -> None:
        """Send until there is nothing more: requests side by side, what needs no answer in its place between them."""
        async with anyio.create_task_group() as tasks:
            with outgoing, suppress(anyio.ClosedResourceError):
                async for item in outgoing:
                    if isinstance(item.message, types.JSONRPCRequest):
                        self._owed += 1
                        tasks.start_soon(self._request, item.message)
                    else:
                        await self._post(item.message)

    async def _request(self, request: types.JSONRPCRequest) -> None:
        if (failure := await self._post(request)) is not None:
            with suppress(*_CLOSED):
                await self._incoming.send(json_rpc.failed(request.id, *failure))

    async def _post(self, message: types.JSONRPCMessage) -> tuple[int, str] | None:
        """Send a message; gives the code and words of what went wrong.

        Some servers reply to the POST only after their answer, so a late reply says nothing.
        """
        content = message.model_dump_json(by_alias=True, exclude_unset=True)
        headers = {"content-type": "application/json"}
        try:
            with anyio.move_on_after(_POST_SECONDS):
                async with self._client.stream("POST", self._endpoint, content=content, headers=headers) as response:
                    await _drain(response)
                    return self._failure(response)
        except _NEVER_SENT as error:
            self._lifeline.cut(ToolServerUnavailable(f"The tool's server cannot be reached: {error}."))
            return NOT_SENT, "not reached"
        except httpx2.TransportError as error:
            return LOST, type(error).__name__
        return None

    def _failure(self, response: httpx2.Response) -> tuple[int, str] | None:
        match response.status_code:
            case status if 200 <= status < 300:
                return None
            case 401 | 403 as status:
                return AUTHENTICATION, f"status {status}"
            case 429:
                return RATE_LIMITED, response.headers.get("retry-after", "")
            case 404:
                self._lifeline.cut(ToolConnectionLost("The tool's server has forgotten the session."))
                return NOT_SENT, "session forgotten"
            case status if status < 500:
                return types.INVALID_REQUEST, f"The tool's server refused the call with status {status}."
            case status:
                return no_answer(status)


async def _drain(response: httpx2.Response) -> None:
    """Read a short reply to its end, so that its connection can be used again."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _LARGEST_REPLY_BYTES:
            return
