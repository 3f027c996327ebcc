"""What surrounds every request: its id, its log line, its figures."""

import time
import uuid
from contextlib import ExitStack

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facade.edge.envelope import refusal
from facade.edge.errors import defect, response_of
from facade.edge.metrics import FacadeMetrics
from threadmesh.telemetry.logs import bound_ids
from threadmesh.telemetry.trace import traceparent_of

log = structlog.get_logger()


class RequestScope:
    """ASGI middleware: takes the client's `X-Request-Id` or makes one, binds it to the logs, and returns it.

    The client's `traceparent` is bound, too, and goes with every RPC.

    `request.state.headers` are added to the response, and `request.state.until_its_end` is closed when that has ended.
    """

    def __init__(self, app: ASGIApp, metrics: FacadeMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope, as ASGI asks."""
        if scope["type"] == "websocket":
            await self._app(scope, receive, _Handshake(send, _request_id(Headers(scope=scope))).send)
            return
        sent = Headers(scope=scope)
        ids = {"request_id": _request_id(sent)}
        if trace := traceparent_of(sent.get("traceparent", "")):
            ids["traceparent"] = trace
        headers = {"x-request-id": ids["request_id"]}
        watched = _Watched(send, headers)
        with ExitStack() as until_its_end, bound_ids(**ids):
            scope.setdefault("state", {}).update(headers=headers, until_its_end=until_its_end)
            try:
                await self._answer(scope, receive, watched)
            finally:
                self._record(scope, watched)

    async def _answer(self, scope: Scope, receive: Receive, watched: "_Watched") -> None:
        """Answer, also for what nobody has foreseen: here its line in the log has the id that the client is told."""
        wrong = refusal(scope)
        handler = self._app if wrong is None else response_of(wrong)
        try:
            await handler(scope, receive, watched.send)
        except Exception as error:
            told = response_of(defect(error))
            if watched.status:
                raise  # the client has the beginning of another answer
            await told(scope, receive, watched.send)

    def _record(self, scope: Scope, watched: "_Watched") -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        seconds = time.monotonic() - watched.began
        outcome = f"{watched.status // 100}xx" if watched.status else "disconnected"
        self._metrics.requests.labels(route, outcome).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if watched.first_byte is not None:
            self._metrics.first_byte_seconds.labels(route).observe(watched.first_byte)
        level = log.debug if route in {"/healthz", "/readyz", "/metrics"} else log.info
        key = scope["state"].get("key", "")
        level("request", method=scope["method"], route=route, status=watched.status, key=key, seconds=round(seconds, 4))


class _Handshake:
    """Passes the messages of a WebSocket to the server; the answer to one that is refused has an id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.http.response.start":
            MutableHeaders(scope=message).setdefault("x-request-id", self._request_id)
        await self._send(message)


class _Watched:
    """Passes messages to the server, noting status and time to first byte."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.began = time.monotonic()
        self.first_byte: float | None = None
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).update(self._headers)
        elif self.first_byte is None and message.get("body"):
            self.first_byte = time.monotonic() - self.began
        await self._send(message)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    if given and len(given) <= 128 and given.isascii() and given.isprintable():
        return given
    return f"req_{uuid.uuid4().hex}"
