"""Holds a talkative server down to what the others leave it."""

import asyncio

from mcp_types import JSONRPCMessage, JSONRPCNotification

_MESSAGES_A_SECOND = 200.0
_MESSAGES_AT_ONCE = 2_000.0
_BYTES_A_SECOND = 32.0 * 1024 * 1024
_BYTES_AT_ONCE = 256.0 * 1024
_BYTES_OF_A_LINE = 512  # as many could be read instead in the time that a line costs besides its length
_LOST_BYTES_A_SECOND = 16.0 * 1024 * 1024
_LARGE_PIECE_BYTES = 16 * 1024
_PROGRESS = "notifications/progress"


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

    async def read_lines(self, chunk: bytes) -> None:
        """Wait until these bytes may have been read, whose lines cost time however short they are."""
        await self.read(len(chunk) + _BYTES_OF_A_LINE * chunk.count(b"\n"))


class Restraint:
    """How much of the service's time a server may take that speaks over a pipe.

    While it waits, what it says gathers and is then read at once, and progress that is old by then is left out. So few
    pieces and little progress are enough, and an answer behind them is not late.
    """

    def __init__(self) -> None:
        self._bytes = _Allowance(_BYTES_AT_ONCE, _BYTES_A_SECOND)
        self._lost_bytes = _Allowance(0, _LOST_BYTES_A_SECOND)
        self._pieces = _Allowance(20, 200)
        self._notifications = _Allowance(100, 200)
        self._progress = _Allowance(10, 50)

    async def read(self, size: int, *, lost: bool) -> None:
        """Wait after so many bytes were read; those of a message that is too large anyway are `lost`."""
        await (self._lost_bytes if lost else self._bytes).spend(size)
        if size < _LARGE_PIECE_BYTES:
            await self._pieces.spend(1)

    async def pass_on(self, message: JSONRPCMessage) -> None:
        """Wait until a message may be passed on; answers and requests always may."""
        if isinstance(message, JSONRPCNotification):
            await self._notifications.spend(1)
            if message.method == _PROGRESS:
                await self._progress.spend(1)


class _Allowance:
    """So much at once, and so much a second; whoever spends more waits."""

    def __init__(self, at_once: float, a_second: float) -> None:
        self._at_once, self._a_second = at_once, a_second
        self._left = at_once
        self._at = asyncio.get_running_loop().time()

    async def spend(self, amount: float) -> None:
        """Wait until what was spent before is there again."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._at_once, self._left + (now - self._at) * self._a_second) - amount
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._a_second)
