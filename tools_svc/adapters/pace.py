"""Holds a talkative server down to what the others leave it."""

import asyncio

_MESSAGES_A_SECOND = 200.0
_MESSAGES_AT_ONCE = 2_000.0
_BYTES_A_SECOND = 32.0 * 1024 * 1024
_BYTES_AT_ONCE = 256.0 * 1024


class Pace:
    """Lets 2000 messages (or `at_once`) through and 200 a second from then on; and 256 KiB and 32 MiB a second.

    Who reads no faster, lets the sender wait. A large answer is read in pieces, between which other servers' messages
    are read.
    """

    def __init__(self, *, at_once: float = _MESSAGES_AT_ONCE) -> None:
        self._messages = _Allowance(at_once, _MESSAGES_A_SECOND)
        self._bytes = _Allowance(_BYTES_AT_ONCE, _BYTES_A_SECOND)

    async def step(self) -> None:
        """Wait until one more message may pass."""
        await self._messages.spend(1)

    async def read(self, size: int) -> None:
        """Wait until so many bytes may have been read."""
        await self._bytes.spend(size)


class _Allowance:
    """So much at once, and so much a second."""

    def __init__(self, at_once: float, a_second: float) -> None:
        self._at_once, self._a_second = at_once, a_second
        self._left = at_once
        self._at = asyncio.get_running_loop().time()

    async def spend(self, amount: float) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(self._at_once, self._left + (now - self._at) * self._a_second) - amount
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._a_second)
