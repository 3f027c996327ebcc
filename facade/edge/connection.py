"""A client's connection: what may wait for its reader, and when a reader is given up."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from facade.edge.framing import Framed

_KERNEL_BYTES = 128 * 1024
"""What waits in the system's buffer, which would otherwise grow to some megabytes; the system doubles it."""
_BYTES = 64 * 1024
"""What waits in this process before the response is made to wait."""
_UNACKNOWLEDGED_SECONDS = 20
"""When a peer is given up that acknowledges nothing: it has vanished without a word."""
_SILENT_SECONDS, _AGAIN_SECONDS, _QUESTIONS = 20, 5, 4
"""A peer that says nothing is asked whether it is there, and given up when it has not answered so many questions."""
_CUT = "threadmesh.cut"


class Connection(Framed):
    """A connection that is cut when its reader takes nothing for `stalled_seconds` though something waits for it.

    What was asked for in vain can be read again from where the reader was, so such a reader has not left: `was_cut`.
    """

    def __init__(self, *, stalled_seconds: float, on_cut: Callable[[], object], **rest: Any) -> None:
        super().__init__(**rest)
        self._stalled_seconds, self._on_cut = stalled_seconds, on_cut
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_BYTES)
        self._set(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        self._give_up_silent_peer(after=_UNACKNOWLEDGED_SECONDS)
        self._ask_silent_peer()

    def pause_writing(self) -> None:
        """Note that the reader does not keep up."""
        super().pause_writing()
        # A reader that is slow acknowledges, but the system would count that as silence.
        self._give_up_silent_peer(after=0)
        self._stalled = self.loop.call_later(self._stalled_seconds, self._cut)

    def resume_writing(self) -> None:
        """Note that the reader has taken most of what waited."""
        super().resume_writing()
        self._stop_waiting()
        self._give_up_silent_peer(after=_UNACKNOWLEDGED_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self._stop_waiting()
        if isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT:
            self._note_cut()
        super().connection_lost(exc)

    def _cut(self) -> None:
        self._note_cut()
        self.transport.abort()  # closing would wait until the reader has taken what waits

    def _note_cut(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.scope["state"][_CUT] = True
            self._on_cut()

    def _stop_waiting(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up_silent_peer(self, *, after: int) -> None:
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self._set(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, after * 1000)

    def _ask_silent_peer(self) -> None:
        """Notice a peer that has vanished though nothing is written to it: amid its request, or while it waits."""
        self._set(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            self._set(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS)
            self._set(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _AGAIN_SECONDS)
            self._set(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _QUESTIONS)

    def _set(self, level: int, option: int, value: int) -> None:
        with suppress(OSError):  # the connection may be gone
            self.transport.get_extra_info("socket").setsockopt(level, option, value)


def was_cut(scope: Scope) -> bool:
    """Say whether a request's connection was cut because its reader took nothing, rather than left by it."""
    return bool(scope["state"].get(_CUT, False))
