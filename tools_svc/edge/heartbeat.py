"""Signs of life in a stream that has nothing to say."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")

SECONDS = 0.75
"""Pause after which a silent stream gives a sign of life; with what may delay it, less than a second."""


async def with_heartbeats(
    items: AsyncGenerator[Item, None], *, every: float = SECONDS
) -> AsyncGenerator[Item | None, None]:
    """Give the items, and None whenever `every` seconds pass without one. Closes `items` when it is closed."""
    async with aclosing(items):
        coming = asyncio.ensure_future(anext(items))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=every)
                if not done:
                    yield None
                    continue
                try:
                    item = coming.result()
                except StopAsyncIteration:
                    return
                yield item
                coming = asyncio.ensure_future(anext(items))
        finally:
            coming.cancel()
            await asyncio.wait({coming})
