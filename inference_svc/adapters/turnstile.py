"""Lets requests in together, or one alone."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_ALONE_SECONDS = 30.0
"""How long all others wait for one that is alone; what ends a process does so soon."""


class Turnstile:
    """Lets many in together, or one that must be alone: it waits until all have left, and all others for it.

    Who came first goes first.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._inside = 0
        self._alone: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def inside(self, *, alone: bool = False) -> AsyncIterator[None]:
        """Be inside; one that is `alone` is so for its first thirty seconds."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((turn, alone))
        self._let_in()
        opening: asyncio.TimerHandle | None = None
        try:
            await turn
            opening = loop.call_later(_ALONE_SECONDS, self._open, turn) if alone else None
            yield
        finally:
            if opening is not None:
                opening.cancel()
            self._leave(turn)

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn.cancelled():  # it had not been let in yet, and is skipped
            self._let_in()
            return
        self._inside -= 1
        self._open(turn)

    def _open(self, turn: asyncio.Future[None]) -> None:
        """Let others in, unless another one is alone by now."""
        self._alone = None if self._alone is turn else self._alone
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._alone is None:
            turn, alone = self._waiting[0]
            if alone and self._inside and not turn.cancelled():
                return
            self._waiting.popleft()
            if not turn.cancelled():
                self._inside += 1
                self._alone = turn if alone else None
                turn.set_result(None)
