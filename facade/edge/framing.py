"""Where one request ends and the next begins: what leaves that open is refused, and the connection closed.

Whoever stands before the facade may read such a request otherwise than it is read here, and so let a second one pass
that it has never looked at (RFC 9112, sections 3.2, 6.1 and 11.2).
"""

from collections import deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from facade.edge.envelope import HeadersTooLarge, InvalidHttp
from facade.edge.errors import closing_bytes_of
from facade.edge.strict_json import BODY_BYTES
from threadmesh.errors import MeshError

_HEAD_BYTES = 64 * 1024
"""What the head of a request may take before it is complete; what it may hold in the end is less (`envelope`)."""
_MESSAGE_BYTES = 4 * BODY_BYTES
"""What a request may take in all: unread bodies, extensions of chunks and trailers are counted nowhere else."""


class Framed(HttpToolsProtocol):
    """uvicorn's connection, which answers each request once, in order, and nothing behind one that cannot be read."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self._taken = 0
        self._in_head = self._in_body = self._over = False
        self._asked: deque[RequestResponseCycle] = deque(maxlen=2)

    def data_received(self, data: bytes) -> None:
        """Take bytes; none after those that could not be read."""
        if self._over:
            return
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
        self._taken, self._in_head = 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are nobody's: the request has been looked at by then."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take a request, unless its head leaves open where it ends or for whom it is meant."""
        _check_framing(self.parser.get_http_version(), self.headers)
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        # A request for a WebSocket has no cycle: the connection is handed over.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._asked.append(cycle)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        super().on_message_complete()
        self._in_body = False

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
