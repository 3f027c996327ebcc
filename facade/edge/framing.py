"""Where one request ends and the next begins: what leaves that open, or open for too long, is refused and closed.

Whoever stands before the facade may read such a request otherwise than it is read here, and so let a second one pass
that it has never looked at (RFC 9112, sections 3.2, 6.1 and 11.2).
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from facade.edge import http_1_0
from facade.edge.envelope import HeadersTooLarge, InvalidHttp, RequestTooSlow
from facade.edge.errors import closing_bytes_of
from facade.edge.strict_json import BODY_BYTES
from threadmesh.errors import MeshError

_HEAD_BYTES = 64 * 1024
"""What the head of a request may take before it is complete; what it may hold in the end is less (`envelope`)."""
_ARRIVAL_RATE = 1024
"""Bytes a second that a body may come by for as long as it likes."""
_MESSAGE_BYTES = 4 * BODY_BYTES
"""What a request may take in all: unread bodies, extensions of chunks and trailers are counted nowhere else."""


class Framed(HttpToolsProtocol):
    """uvicorn's connection, which answers each request once, in order, and nothing behind one that cannot be read.

    A head must be complete within `arrival_seconds` of the connection, or of the first byte behind the request before.
    A body has as long, and a second more for each `arrival_rate` bytes that have come. Between requests a connection
    may be idle for uvicorn's own time.
    """

    def __init__(self, *, arrival_seconds: float, arrival_rate: int = _ARRIVAL_RATE, **rest: Any) -> None:
        super().__init__(**rest)
        self._arrival_seconds, self._arrival_rate = arrival_seconds, arrival_rate
        self._due: asyncio.TimerHandle | None = None
        self._taken = self._read = 0
        self._in_head = self._in_body = self._over = False
        self._began = 0.0
        self._asked: deque[RequestResponseCycle] = deque(maxlen=2)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; none after those that could not be read."""
        if self._over:
            return
        self._expect()
        self._taken += len(data)
        super().data_received(data)
        if self._in_head and self._taken > _HEAD_BYTES:
            self._refuse(HeadersTooLarge())
        elif self._in_body and self._taken > _MESSAGE_BYTES:
            self._over = True
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words
        """Refuse what cannot be read."""
        self._refuse(InvalidHttp())

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._expect()
        self._taken, self._in_head = 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are nobody's: the request has been looked at by then."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take a request, unless its head leaves open where it ends or for whom it is meant."""
        _check_framing(self.parser.get_http_version(), self.headers)
        super().on_headers_complete()
        self._in_head, self._in_body, self._read = False, True, 0
        # A request for a WebSocket has no cycle: the connection is handed over.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._asked.append(cycle)
            if cycle.scope["http_version"] == http_1_0.VERSION:
                http_1_0.end_by_closing(cycle)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        super().on_body(body)
        self._read += len(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        super().on_message_complete()
        self._in_body = False
        self._arrived()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        self._arrived()
        super().handle_websocket_upgrade()

    def _expect(self) -> None:
        """Give what comes now its time, unless it has it already."""
        if self._due is None:
            self._began = self.loop.time()
            self._due = self.loop.call_later(self._arrival_seconds, self._look)

    def _arrived(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _look(self) -> None:
        """Refuse what is not there in time."""
        self._due = None
        now = self.loop.time()
        if self._in_body and self.flow.read_paused:  # the body waits to be read, and its client with it
            self._began = now
        until = self._began + self._arrival_seconds + (self._read / self._arrival_rate if self._in_body else 0)
        if now < until:
            self._due = self.loop.call_at(until, self._look)
        elif self._taken or self._in_head or self._in_body or self._asked:
            self._refuse(RequestTooSlow())
        else:
            self._over = True
            self.transport.close()

    def _refuse(self, error: MeshError) -> None:
        """Answer what was asked before, then refuse what is being read unless it was answered, and close."""
        self._over = True
        own = self._asked.pop() if self._in_body and self._asked else None
        if own is not None:
            _leave(own)
            if self.pipeline and self.pipeline[0][0] is own:
                self.pipeline.popleft()
        before = self._asked[-1] if self._asked else None
        if before is not None and not before.response_complete:
            before.keep_alive = False  # its response closes the connection
            return
        if own is None or not own.response_started:
            self.transport.write(closing_bytes_of(error))
        self.transport.close()


def _leave(cycle: RequestResponseCycle) -> None:
    """Let a request's handler know that nobody waits for it: what it says now would be a second answer."""
    cycle.disconnected = True
    cycle.message_event.set()


def _check_framing(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Raise `InvalidHttp` for a head whose message could be read in two ways.

    The parser refuses a length that is none, two of them, and one beside a transfer coding.
    """
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    hosts = sum(name == b"host" for name, _ in headers)
    current = version == "1.1"
    if codings not in ([], [b"chunked"]) or (codings and not current):
        raise InvalidHttp
    if version not in {"0.9", "1.0", "1.1"} or hosts > 1 or (current and not hosts):
        raise InvalidHttp
