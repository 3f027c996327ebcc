"""Server-sent events, in the form that every stock client reads: see the rules that were measured in the tests."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import StreamingResponse

from threadmesh.streams import gathered


class EventStream(StreamingResponse):
    """A response of server-sent events."""

    media_type = "text/event-stream"


HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""`x-accel-buffering` keeps proxies from holding a stream back."""
DONE = b"data: [DONE]\n\n"
_AHEAD_BYTES = 128 * 1024
"""What waits for a reader here before its stream is made to wait; what was given to the connection waits there."""
_COMMENT = b": keep-alive\n"
"""Without the blank line that ends an event: once openai-python has seen an `id:`, it takes that for an empty event."""


def block(data: dict[str, Any], *, id: str = "", event: str = "") -> bytes:  # noqa: A002  # the field's name
    """Write one event, with its name if it has one.

    An id stands in the same block as its data, since clients fail on blocks without data.
    """
    head = f"id: {id}\n".encode() if id else b""
    head += f"event: {event}\n".encode() if event else b""
    return b"%bdata: %b\n\n" % (head, orjson.dumps(data))


async def kept_alive(blocks: AsyncGenerator[bytes, None], *, seconds: float) -> AsyncGenerator[bytes, None]:
    """Pass blocks on, with a comment whenever none came for `seconds`. Closing it closes `blocks`."""
    async with aclosing(gathered(blocks, every=seconds, weight=len, ahead=_AHEAD_BYTES)) as pieces:
        async for piece in pieces:
            yield b"".join(piece) or _COMMENT
