"""Helpers for async streams."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

_AHEAD = 256


class Silence:
    """Calls `broken` whenever nothing was heard for `seconds`. Hearing costs no timer: the one there is looks back."""

    def __init__(self, seconds: float, broken: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._broken = broken
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)

    def heard(self) -> None:
        """Begin to wait anew."""
        self._heard = self._loop.time()

    def pause(self) -> None:
        """Expect nothing until the next `heard`."""
        self._heard = math.inf

    def stop(self) -> None:
        """Wait no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._heard + self._seconds:
            self._heard = now
            self._broken()
        self._timer = self._loop.call_at(min(self._heard, now) + self._seconds, self._look)


class _Gathered(Generic[Item]):
    """What has come of a stream and waits for its reader."""

    def __init__(self, *, hurry: Callable[[Sequence[Item]], bool], weight: Callable[[Item], int], ahead: int) -> None:
        self.items: list[Item] = []
        self.news = asyncio.Event()
        self._hurry, self._weight, self._ahead = hurry, weight, ahead
        self._room = asyncio.Event()
        self._load = 0
        self._pausing = False

    async def fill(self, items: AsyncGenerator[Item, None]) -> None:
        """Read the stream, which waits while what is here has the weight of what may be `ahead`."""
        async with aclosing(items):
            async for item in items:
                self.items.append(item)
                self._load += self._weight(item)
                if not self._pausing or self._hurry(self.items):
                    self.news.set()
                while self._load >= self._ahead:
                    self._room.clear()
                    await self._room.wait()

    async def pause(self, until: float) -> None:
        """Wait until that time of the loop; less if something comes that is in a hurry, or the stream ends."""
        loop = asyncio.get_running_loop()
        if self._hurry(self.items) or until <= loop.time():
            return
        self._pausing = True
        timer = loop.call_at(until, self.news.set)
        try:
            await self.news.wait()
        finally:
            timer.cancel()
            self._pausing = False
        self.news.clear()

    def take(self) -> list[Item]:
        """Give what waits, and make room."""
        taken, self.items = self.items, []
        self._load = 0
        self._room.set()
        return taken


async def gathered(
    items: AsyncGenerator[Item, None],
    *,
    every: float,
    apart: float = 0.0,
    hurry: Callable[[Sequence[Item]], bool] = lambda _: False,
    weight: Callable[[Item], int] = lambda _: 1,
    ahead: int = _AHEAD,
) -> AsyncGenerator[list[Item], None]:
    """Give what has come since the last time, as soon as something has; an empty list after `every` seconds of silence.

    What comes within `apart` seconds after the last time waits until these are over, or until something comes that is
    in a `hurry` or the end of the stream.
    The stream goes on while its reader is busy, until what waits for that has a `weight` of `ahead` together. What it
    raises is raised after the items before. Closing this closes the stream.
    """
    waiting = _Gathered(hurry=hurry, weight=weight, ahead=ahead)
    gathering = asyncio.ensure_future(waiting.fill(items))
    gathering.add_done_callback(lambda _: waiting.news.set())
    silence = Silence(every, waiting.news.set)
    loop, given = asyncio.get_running_loop(), -math.inf
    try:
        while waiting.items or not gathering.done():
            if not waiting.items:
                await waiting.news.wait()
            waiting.news.clear()
            if waiting.items and apart and not gathering.done():
                await waiting.pause(given + apart)
            if waiting.items:
                given = loop.time()
                silence.heard()
                yield waiting.take()
            elif not gathering.done():
                yield []
        gathering.result()
    finally:
        silence.stop()
        gathering.cancel()
        await asyncio.gather(gathering, return_exceptions=True)


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


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


async def side_by_side(
    streams: Sequence[AsyncGenerator[Item, None]], *, at_once: int
) -> AsyncGenerator[tuple[int, Item], None]:
    """Give what several streams give, each item with the number of its stream, as it comes.

    `at_once` of them run at one time, in their order. The first error of a stream is raised and stops the others;
    closing this closes them all.
    """
    found: asyncio.Queue[tuple[int, Item] | _End] = asyncio.Queue(_AHEAD)
    free = asyncio.Semaphore(at_once)

    async def read(number: int, stream: AsyncGenerator[Item, None]) -> None:
        try:
            async with free, aclosing(stream):
                async for item in stream:
                    await found.put((number, item))
        except Exception as error:  # noqa: BLE001  # it is raised where the streams are read
            await found.put(_End(error))
        else:
            await found.put(_End())

    reading = [asyncio.ensure_future(read(number, stream)) for number, stream in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            item = await found.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                left -= 1
    finally:
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
