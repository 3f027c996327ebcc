"""What a call passes before it goes out, each after those that came before it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from threadmesh.clock import Clock
from threadmesh.errors import ToolRateLimited
from tools_svc.domain.token_bucket import Rate, TokenBucket

Sleep = Callable[[float], Awaitable[None]]


class Turnstile(Protocol):
    """Lets callers pass in the order of their arrival. A caller that is cancelled while it waits takes up no turn."""

    @property
    def free(self) -> bool:
        """Whether a caller would pass without waiting."""
        ...

    async def enter(self, deadline: float) -> None:
        """Pass; raises `ToolRateLimited` at once if it is known that the turn comes after `deadline`."""
        ...

    def leave(self) -> None:
        """Say that what was entered for is over."""
        ...


class Gate:
    """Holds so many callers at once."""

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most)

    @property
    def free(self) -> bool:
        """Whether there is a place."""
        return not self._places.locked()

    async def enter(self, deadline: float) -> None:  # noqa: ARG002  # nobody knows when a place will be free
        """Take a place."""
        await self._places.acquire()

    def leave(self) -> None:
        """Give the place to who waits longest."""
        self._places.release()


class Pacer:
    """Lets so many callers pass in a second."""

    def __init__(self, rate: Rate, *, name: str, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        """`name` is what is limited, as errors call it; deadlines are `clock`'s."""
        self._bucket = TokenBucket(rate, clock)
        self._name = name
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def free(self) -> bool:
        """Whether nobody waits and a token is there."""
        return self._waiting == 0 and self._bucket.wait_seconds() == 0

    async def enter(self, deadline: float) -> None:
        """Pass when there is a token."""
        seconds = self._bucket.wait_seconds(ahead=self._waiting)
        if self._clock.monotonic() + seconds > deadline:
            raise _limited(self._name, seconds)
        self._waiting += 1
        try:
            async with self._turn:
                while (seconds := self._bucket.wait_seconds()) > 0:
                    await self._sleep(seconds)
                self._bucket.take()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Change nothing: a token that was used is gone."""


def _limited(name: str, seconds: float) -> ToolRateLimited:
    message = f"{name} may not be called that often; the next turn comes in {seconds:.1f} s, which is too late."
    return ToolRateLimited(message, retry_after_seconds=f"{seconds:.3f}").after(seconds)
