"""Responses without a length for clients of HTTP/1.0, which know no chunks: the end of the connection is theirs."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

VERSION = "1.0"


def end_by_closing(cycle: RequestResponseCycle) -> None:
    """Have the response end with the connection if it does not say its length, where uvicorn sends chunks."""
    cycle.send = _Response(cycle)  # type: ignore[assignment,method-assign]  # uvicorn has no other place for it


class _Response:
    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send: Callable[[Any], Awaitable[None]] = cycle.send
        self._endless = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and "content-length" not in Headers(raw=message["headers"]):
            self._endless = True
            self._cycle.chunked_encoding, self._cycle.keep_alive = False, False
        elif self._endless:
            # uvicorn would miss the length that nobody has told.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)
