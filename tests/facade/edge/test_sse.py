"""Streams as they are sent: never silent, and never far ahead of their reader."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from facade.edge import sse


async def test_a_stream_is_made_no_further_ahead_than_a_reader_may_have_waiting() -> None:
    made = 0

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal made
        while True:
            made += 1000
            yield b"x" * 1000

    async with aclosing(sse.kept_alive(endless(), seconds=60)) as stream:
        taken = len(await anext(stream))
        for _ in range(100):
            await asyncio.sleep(0)  # the stream goes on as far as it may while its reader is busy

        assert made - taken <= 128 * 1024 + 1000
        taken += len(await anext(stream))
        assert taken > 64 * 1024


async def test_a_silent_stream_carries_comments() -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    async with aclosing(sse.kept_alive(silent(), seconds=0.01)) as stream, asyncio.timeout(10):
        assert [await anext(stream) for _ in range(3)] == [b": keep-alive\n"] * 3
