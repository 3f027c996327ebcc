"""Helpers for async streams."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def begun(items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """Wait for a stream's first item and give the whole stream.

    What the stream raises before its first item is raised here, while it may still be asked for again.
    """
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return _rest((), items)
    except BaseException:
        await items.aclose()
        raise
    return _rest((first,), items)


async def _rest(first: tuple[Item, ...], items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    async with aclosing(items):
        for item in first:
            yield item
        async for item in items:
            yield item
