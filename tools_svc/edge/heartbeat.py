"""Signs of life in a stream that has nothing to say."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from threadmesh.streams import gathered

Item = TypeVar("Item")

SECONDS = 0.75
"""Pause after which a silent stream gives a sign of life; with what may delay it, less than a second."""


async def with_heartbeats(
    items: AsyncGenerator[Item, None], *, every: float = SECONDS
) -> AsyncGenerator[Item | None, None]:
    """Give the items, and None whenever `every` seconds pass without one. Closes `items` when it is closed."""
    async with aclosing(gathered(items, every=every, ahead=1)) as pieces:
        async for piece in pieces:
            if not piece:
                yield None
            for item in piece:
                yield item
