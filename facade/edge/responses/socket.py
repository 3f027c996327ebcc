"""`/v1/responses` over WebSocket: one response after the other on one connection.

Each `response.create` becomes an HTTP request of its own to the application, and the events of its stream become
messages. So a key, limits, logs and figures, and what a client that leaves means, are the same for both transports.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from fastapi import APIRouter, WebSocket
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.websockets import WebSocketDisconnect

from facade.edge import strict_json
from facade.edge.errors import response_of
from facade.edge.invalid import SHOWN
from facade.edge.responses.socket_request import SocketRequest, WholeAnswer, body_of_message, scope_of, stream_id_of
from threadmesh.errors import Code, MeshError, NotFound

log = structlog.get_logger()

PATH = "/v1/responses"
_MOST_WAITING = 16
_MOST_WAITING_BYTES = 4 * 1024 * 1024
"""What waits together; a single request may be as long as any other, if nothing waits before it."""
_UPGRADE_REQUIRED = 426
_TOLD = ("retry-after", "x-ratelimit-", "x-should-retry", "x-threadmesh-ignored")
"""Headers of a response that its first message carries, by what they begin with."""


class UpgradeRequired(MeshError):
    """POST a request for a response to this address, or connect to it by WebSocket."""

    code = Code.FAILED_PRECONDITION
    reason = "UPGRADE_REQUIRED"


class TooManyWaiting(MeshError):
    """Wait for responses before asking for more of them over one connection."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_WAITING"
    retryable = True


class OriginNotAllowed(MeshError):
    """Pages of other origins may not connect; let your server do it for them."""

    code = Code.PERMISSION_DENIED
    reason = "ORIGIN_NOT_ALLOWED"


def handshake_router() -> APIRouter:
    """Make the route whose answer decides on connections: 426, unless the request may not come in at all."""
    routes = APIRouter(tags=["responses"])

    @routes.get(PATH, status_code=_UPGRADE_REQUIRED, include_in_schema=False)
    async def upgrade() -> Response:
        response = response_of(UpgradeRequired())
        response.headers["upgrade"] = "websocket"
        return response

    return routes


def socket_router() -> APIRouter:
    """Make the WebSocket route. It needs no guard of its own: every request over it passes the application's."""
    routes = APIRouter()

    @routes.websocket(PATH)
    async def connect(websocket: WebSocket) -> None:
        if _foreign(websocket.headers):
            await websocket.send_denial_response(response_of(OriginNotAllowed()))
            return
        app: ASGIApp = websocket.app
        asked = SocketRequest(scope_of(websocket, "GET"), b"", asyncio.Event())
        answer = WholeAnswer()
        await app(asked.scope, asked.receive, answer.send)
        if answer.status != _UPGRADE_REQUIRED:
            await websocket.send_denial_response(answer.response())
            return
        await websocket.accept()
        await _Connection(websocket, app).serve()

    @routes.websocket("/{path:path}")
    async def nothing(websocket: WebSocket) -> None:
        error = NotFound(f"There is nothing to connect to at {websocket.url.path[:SHOWN]}; {PATH} takes WebSockets.")
        await websocket.send_denial_response(response_of(error))

    return routes


class _Connection:
    """One client's connection, and the runs that were begun over it."""

    def __init__(self, websocket: WebSocket, app: ASGIApp) -> None:
        self._websocket, self._app = websocket, app
        self._waiting: deque[bytes] = deque()
        self._news, self._left = asyncio.Event(), asyncio.Event()
        self._runs: set[str] = set()

    async def serve(self) -> None:
        """Answer until the client leaves, which stops what is being answered as it does over HTTP."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._answer_all())
            await self._read_all()
            self._left.set()
            self._news.set()

    async def _read_all(self) -> None:
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            content = message.get("bytes") or (message.get("text") or "").encode(errors="surrogatepass")
            if self._has_room(len(content)):
                self._waiting.append(content)
                self._news.set()
            else:
                await self._tell(_error(response_of(TooManyWaiting())), _lane_of(content))

    def _has_room(self, size: int) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < _MOST_WAITING and size + sum(map(len, self._waiting)) <= _MOST_WAITING_BYTES

    async def _answer_all(self) -> None:
        while not self._left.is_set():
            if self._waiting:
                await self._answer(self._waiting.popleft())
            else:
                self._news.clear()
                await self._news.wait()

    async def _answer(self, message: bytes) -> None:
        """Make a request of a message, and messages of its response."""
        stream_id = None
        try:
            given = strict_json.decode(message)
            stream_id = stream_id_of(given)
            body = body_of_message(given)
        except MeshError as error:
            await self._tell(_error(response_of(error)), stream_id)
            return
        asked = SocketRequest(scope_of(self._websocket, "POST"), body, self._left)
        asked.scope["state"]["connection_runs"] = self._runs
        answer = _Told(self, stream_id)
        try:
            await self._app(asked.scope, asked.receive, answer.send)
        except Exception as error:  # noqa: BLE001  # a defect, of which the application has told
            log.debug("socket.defect", error=repr(error))

    async def tell(self, event: dict[str, Any], stream_id: str | None) -> None:
        """Send an event, in the lane that its request named."""
        await self._tell(event, stream_id)

    def begun(self, run_id: str) -> None:
        """Note a run, so that a later response of this connection may go on behind it though it is not stored."""
        self._runs.add(run_id)

    async def _tell(self, event: dict[str, Any], stream_id: str | None = None) -> None:
        if self._left.is_set():
            return
        try:
            told = event if stream_id is None else {**event, "stream_id": stream_id}
            await self._websocket.send_text(orjson.dumps(told).decode())
        except (WebSocketDisconnect, RuntimeError):
            self._left.set()  # its reader is told by the next message


class _Told(WholeAnswer):
    """A response whose events are told to a client as they come; one without events is told as an error."""

    def __init__(self, connection: _Connection, stream_id: str | None) -> None:
        super().__init__()
        self._connection, self._stream_id = connection, stream_id
        self._begun = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await super().send(message)
        if message["type"] == "http.response.start":
            if run_id := self.headers.get("x-run-id"):
                self._connection.begun(run_id)
        elif self.headers.get("content-type", "").startswith("text/event-stream"):
            for event in self._events():
                told = event if self._begun else event | _headers_told(self.headers)
                self._begun = True
                await self._connection.tell(told, self._stream_id)
        elif self._body and not message.get("more_body", False):  # one whose client has left has none
            await self._connection.tell(_error(self.response()), self._stream_id)

    def _events(self) -> Iterator[dict[str, Any]]:
        """Take the events that are whole by now; comments and the mark of the end are of no use here."""
        *blocks, self._body = self._body.split(b"\n\n")
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data: {"):
                    yield orjson.loads(line.removeprefix(b"data: "))


def _foreign(headers: Headers) -> bool:
    """Whether a browser connects for a page from elsewhere: unlike for requests, browsers leave that to the server."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _error(response: Response) -> dict[str, Any]:
    """Tell a response without events in the words of connections, with the headers that say when to come back."""
    told = {"type": "error", "status": response.status_code, **orjson.loads(response.body)}
    return told | _headers_told(response.headers)


def _headers_told(given: Mapping[str, str]) -> dict[str, Any]:
    headers = {name: value for name, value in given.items() if name.startswith(_TOLD)}
    return {"headers": headers} if headers else {}


def _lane_of(message: bytes) -> str | None:
    """Name the lane of a message that is not looked at further."""
    with suppress(MeshError):
        return stream_id_of(strict_json.decode(message))
    return None
