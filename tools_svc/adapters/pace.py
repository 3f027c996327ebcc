"""Holds a talkative server down to what the others leave it."""

import asyncio

_A_SECOND = 200.0
_AT_ONCE = 2_000.0


class Pace:
    """Lets 2000 messages through at once and 200 a second from then on; who reads no faster, lets the sender wait."""

    def __init__(self) -> None:
        self._left = _AT_ONCE
        self._at = asyncio.get_running_loop().time()

    async def step(self) -> None:
        """Wait until one more message may pass."""
        now = asyncio.get_running_loop().time()
        self._left = min(_AT_ONCE, self._left + (now - self._at) * _A_SECOND) - 1
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / _A_SECOND)
