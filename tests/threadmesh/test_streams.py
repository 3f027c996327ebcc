"""Streams are passed on whole, in order and without delay, and are closed when their reader leaves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from threadmesh.streams import Silence, gathered, side_by_side


async def stream(*items: int | Exception | asyncio.Event) -> AsyncGenerator[int, None]:
    """Give items, raise errors, wait for what must happen first."""
    for item in items:
        if isinstance(item, asyncio.Event):
            await item.wait()
        elif isinstance(item, Exception):
            raise item
        else:
            yield item


async def test_what_came_meanwhile_is_given_at_once_and_in_order() -> None:
    pause = asyncio.Event()
    async with aclosing(gathered(stream(1, 2, pause, 3, 4, 5), every=60)) as pieces:
        first = await anext(pieces)
        pause.set()
        for _ in range(3):
            await asyncio.sleep(0)
        second = await anext(pieces)
        rest = [piece async for piece in pieces]

    assert (first, second, rest) == ([1, 2], [3, 4, 5], [])


async def test_silence_is_told() -> None:
    pause = asyncio.Event()
    async with asyncio.timeout(10), aclosing(gathered(stream(1, pause, 2), every=0.001)) as pieces:
        told = [await anext(pieces) for _ in range(4)]
        pause.set()
        async for piece in pieces:
            told.append(piece)

    assert told[:4] == [[1], [], [], []]
    assert told[-1] == [2]


async def test_an_error_comes_after_the_items_before_it() -> None:
    found: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        async for piece in gathered(stream(1, 2, ValueError("broken")), every=60):
            found += piece

    assert found == [1, 2]


async def test_a_reader_that_leaves_closes_the_stream() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async with aclosing(gathered(endless(), every=60)) as pieces:
        assert set(await anext(pieces)) == {1}

    assert closed.is_set()


async def test_a_stream_does_not_run_far_ahead_of_its_reader() -> None:
    made: list[int] = []

    async def endless() -> AsyncGenerator[int, None]:
        while True:
            made.append(len(made))
            yield made[-1]
            await asyncio.sleep(0)

    async with aclosing(gathered(endless(), every=60)) as pieces:
        await anext(pieces)
        for _ in range(2_000):
            await asyncio.sleep(0)
        ahead = len(made)
        found = await anext(pieces)
        found += await anext(pieces)

    assert ahead < 1_000
    assert found == list(range(1, 1 + len(found)))


async def test_a_cancelled_reader_stops_the_stream() -> None:
    closed, begun = asyncio.Event(), asyncio.Event()

    async def silent() -> AsyncGenerator[int, None]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            closed.set()

    async def read() -> None:
        async with aclosing(gathered(silent(), every=60)) as pieces:
            await anext(pieces)

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert reading.cancelled()
    assert closed.is_set()


async def test_who_is_heard_in_time_is_not_silent() -> None:
    loop = asyncio.get_running_loop()
    broken: list[float] = []
    silence = Silence(0.02, lambda: broken.append(loop.time()))
    last = loop.time()
    while loop.time() < last + 0.05:
        await asyncio.sleep(0)
        silence.heard()
    assert broken == []
    silence.pause()
    await asyncio.sleep(0.05)
    assert broken == []
    silence.heard()
    last = loop.time()
    async with asyncio.timeout(10):
        while len(broken) < 2:
            await asyncio.sleep(0.001)
    silence.stop()

    assert broken[0] >= last + 0.02
    assert broken[1] >= broken[0] + 0.02


async def test_what_comes_too_soon_waits() -> None:
    loop = asyncio.get_running_loop()
    pause, never = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(10), aclosing(gathered(stream(1, pause, 2, never), every=60, apart=0.05)) as pieces:
        began = loop.time()
        assert await anext(pieces) == [1]
        pause.set()
        assert await anext(pieces) == [2]
        assert loop.time() >= began + 0.05


async def test_what_is_in_a_hurry_does_not_wait() -> None:
    pause = asyncio.Event()
    items = gathered(stream(1, pause, 2), every=60, apart=60, hurry=lambda waiting: waiting[-1] == 2)
    async with asyncio.timeout(10), aclosing(items) as pieces:
        assert await anext(pieces) == [1]
        pause.set()
        assert await anext(pieces) == [2]


@pytest.mark.parametrize("last", [(3,), ()], ids=["an item in a hurry", "the end"])
async def test_what_waits_goes_with_what_is_in_a_hurry(last: tuple[int, ...]) -> None:
    pause, later = asyncio.Event(), asyncio.Event()
    items = gathered(stream(1, pause, 2, later, *last), every=60, apart=60, hurry=lambda waiting: waiting[-1] == 3)
    async with asyncio.timeout(10), aclosing(items) as pieces:
        assert await anext(pieces) == [1]
        pause.set()
        waiting = asyncio.ensure_future(anext(pieces))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        later.set()
        assert await waiting == [2, *last]


async def test_streams_side_by_side_are_given_as_they_come() -> None:
    pause, rest = asyncio.Event(), asyncio.Event()
    found = []
    async with (
        asyncio.timeout(10),
        aclosing(side_by_side([stream(1, pause, 2), stream(3, rest, 4)], at_once=2)) as both,
    ):
        async for number, item in both:
            found.append((number, item))
            if len(found) == 2:
                rest.set()
            if len(found) == 3:
                pause.set()

    assert sorted(found[:2]) == [(0, 1), (1, 3)]
    assert found[2:] == [(1, 4), (0, 2)]


async def test_no_more_streams_run_than_may_at_once() -> None:
    running: list[int] = []
    most = 0

    async def counted(number: int) -> AsyncGenerator[int, None]:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        await asyncio.sleep(0)
        yield number
        running.remove(number)

    async with asyncio.timeout(10), aclosing(side_by_side([counted(each) for each in range(5)], at_once=2)) as several:
        found = [item async for _, item in several]

    assert (sorted(found), most, running) == ([0, 1, 2, 3, 4], 2, [])


async def test_an_error_of_one_stream_stops_the_others() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    with pytest.raises(ValueError, match="broken"):
        async with (
            asyncio.timeout(10),
            aclosing(side_by_side([endless(), stream(ValueError("broken"))], at_once=2)) as b,
        ):
            async for _ in b:
                pass

    assert closed.is_set()
