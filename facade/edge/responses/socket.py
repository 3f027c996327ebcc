"""`/v1/responses` over WebSocket: one response after the other on one connection.

Each `response.create` becomes an HTTP request of its own to the application, and the events of its stream become
messages. So a key, limits, logs and figures, and what a client that leaves means, are the same for both transports.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from fastapi import APIRouter, WebSocket
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope
from starlette.websockets import WebSocketDisconnect

from facade.edge import strict_json
from facade.edge.errors import body_of, response_of
from threadmesh.errors import Code, InvalidArgument, MeshError

log = structlog.get_logger()

PATH = "/v1/responses"
_MOST_WAITING = 16
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_OWN = re.compile(rb"(connection|upgrade|sec-websocket-.*|content-.*|transfer-encoding|te|accept-encoding)")
"""Headers of the handshake that are no part of requests made over the connection."""
_OF_ONE_REQUEST = {b"idempotency-key", b"last-event-id", b"x-request-id", b"x-stainless-retry-count"}
_TRANSPORT = ("type", "stream", "stream_id", "generate")
_UPGRADE_REQUIRED = 426
_OF_LIMITS = ("retry-after", "x-ratelimit-", "x-should-retry")


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
        headers = {"upgrade": "websocket"}
        return Response(orjson.dumps(body_of(UpgradeRequired())), _UPGRADE_REQUIRED, headers, "application/json")

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
        asked = _Asked(_scope(websocket, "GET"), b"", asyncio.Event())
        answer = _Whole()
        await app(asked.scope, asked.receive, answer.send)
        if answer.status != _UPGRADE_REQUIRED:
            await websocket.send_denial_response(answer.response())
            return
        await websocket.accept()
        await _Connection(websocket, app).serve()

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
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(content)
                self._news.set()
            else:
                await self._tell(_error(response_of(TooManyWaiting())))

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
            stream_id = _stream_id(given)
            body = _body(given)
        except MeshError as error:
            await self._tell(_error(response_of(error)), stream_id)
            return
        asked = _Asked(_scope(self._websocket, "POST"), body, self._left)
        asked.scope["state"]["connection_runs"] = self._runs
        answer = _Told(self, stream_id)
        try:
            await self._app(asked.scope, asked.receive, answer.send)
        except Exception as error:  # noqa: BLE001  # a defect, which the application has answered before it raised it
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


class _Asked:
    """A request to the application: its body, and the end of its client."""

    def __init__(self, scope: Scope, body: bytes, left: asyncio.Event) -> None:
        self.scope = scope
        self._body: bytes | None = body
        self._left = left

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


class _Whole:
    """A response that is read as a whole."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self._body = b""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self._body += message.get("body", b"")

    def response(self) -> Response:
        return Response(self._body, self.status, self.headers)


class _Told(_Whole):
    """A response whose events are told to a client as they come; one without events is told as an error."""

    def __init__(self, connection: _Connection, stream_id: str | None) -> None:
        super().__init__()
        self._connection, self._stream_id = connection, stream_id

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await super().send(message)
        if message["type"] == "http.response.start":
            if run_id := self.headers.get("x-run-id"):
                self._connection.begun(run_id)
        elif self.headers.get("content-type", "").startswith("text/event-stream"):
            for event in self._events():
                await self._connection.tell(event, self._stream_id)
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


def _scope(websocket: WebSocket, method: str) -> Scope:
    """Give the scope of a request that comes over the connection, with the headers of the handshake."""
    given = websocket.scope
    kept = [each for each in given["headers"] if not _OWN.fullmatch(each[0]) and each[0] not in _OF_ONE_REQUEST]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https" if given.get("scheme") == "wss" else "http",
        "path": given["path"],
        "raw_path": given.get("raw_path"),
        "root_path": given.get("root_path", ""),
        "query_string": b"",
        "headers": [*kept, (b"content-type", b"application/json")],
        "client": given.get("client"),
        "server": given.get("server"),
        "state": {},
    }


def _stream_id(given: dict[str, Any]) -> str | None:
    stream_id = given.get("stream_id")
    if stream_id is None or (isinstance(stream_id, str) and _STREAM_ID.fullmatch(stream_id)):
        return stream_id
    raise InvalidArgument("stream_id must be 1 to 256 letters, digits, dots, dashes or underscores.", field="stream_id")


def _body(given: dict[str, Any]) -> bytes:
    """Give the body of the request that a message is. Raises `InvalidArgument` for what no connection carries."""
    if given.get("type") != "response.create":
        raise InvalidArgument("type must be response.create.", field="type", kind="invalid_value")
    if given.get("background"):
        raise InvalidArgument(
            "background is for requests over HTTP; over a connection, leaving stops a response.",
            field="background",
            kind="unsupported_parameter",
        )
    if given.get("generate") is False:
        raise InvalidArgument(
            "generate must be true: what requests have in common is found by itself.",
            field="generate",
            kind="unsupported_parameter",
        )
    body = {name: value for name, value in given.items() if name not in _TRANSPORT}
    return json.dumps({**body, "stream": True}).encode()


def _error(response: Response) -> dict[str, Any]:
    """Tell a response without events in the words of connections, with the headers that say when to come back."""
    headers = {name: value for name, value in response.headers.items() if name.startswith(_OF_LIMITS)}
    told = {"type": "error", "status": response.status_code, **orjson.loads(response.body)}
    return {**told, "headers": headers} if headers else told
