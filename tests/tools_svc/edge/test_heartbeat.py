import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tools_svc.edge.heartbeat import with_heartbeats


class Stream:
    """A stream that gives an item whenever it is told to, and tells when it was closed."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.closed = False

    async def run(self) -> AsyncGenerator[int, None]:
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


async def test_a_silent_stream_beats_and_loses_nothing() -> None:
    stream = Stream()
    async with asyncio.timeout(5), aclosing(with_heartbeats(stream.run(), every=0.001)) as beating:
        assert [await anext(beating), await anext(beating)] == [None, None]
        stream.items.put_nowait(1)
        stream.items.put_nowait(None)
        rest = [item async for item in beating]

    assert [item for item in rest if item is not None] == [1]


async def test_a_stream_with_something_to_say_does_not_beat() -> None:
    stream = Stream()
    for item in (1, 2, 3, None):
        stream.items.put_nowait(item)

    assert [item async for item in with_heartbeats(stream.run(), every=60)] == [1, 2, 3]


async def test_closing_closes_the_stream_inside() -> None:
    stream = Stream()
    async with asyncio.timeout(5), aclosing(with_heartbeats(stream.run(), every=0.001)) as beating:
        await anext(beating)

    assert stream.closed


async def test_an_error_inside_comes_out() -> None:
    stream = Stream()
    stream.items.put_nowait(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await anext(with_heartbeats(stream.run(), every=60))
