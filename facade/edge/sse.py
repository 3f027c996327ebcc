"""Server-sent events, in the form that every stock client reads: see the rules that were measured in the tests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""`x-accel-buffering` keeps proxies from holding a stream back."""
DONE = b"data: [DONE]\n\n"
_COMMENT = b": keep-alive\n"
"""Without the blank line that ends an event: once openai-python has seen an `id:`, it takes that for an empty event."""


def block(data: dict[str, Any], *, id: str = "") -> bytes:  # noqa: A002  # the field's name
    """Write one event; an id stands in the same block as its data, since clients fail on blocks without data."""
    head = f"id: {id}\n".encode() if id else b""
    return b"%bdata: %b\n\n" % (head, orjson.dumps(data))


async def kept_alive(blocks: AsyncGenerator[bytes, None], *, seconds: float) -> AsyncIterator[bytes]:
    """Pass blocks on, with a comment whenever none came for `seconds`. Closing it closes `blocks`."""
    async with aclosing(blocks):
        waiting = asyncio.ensure_future(anext(blocks, None))
        try:
            while True:
                done, _ = await asyncio.wait([waiting], timeout=seconds)
                if not done:
                    yield _COMMENT
                    continue
                if (written := waiting.result()) is None:
                    return
                yield written
                waiting = asyncio.ensure_future(anext(blocks, None))
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
