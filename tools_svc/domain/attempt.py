"""How a call goes from one tool to the next of those that can do it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    Overloaded,
    ToolConnectionLost,
    ToolServerUnavailable,
    Unavailable,
)
from tools_svc.domain.broken import interruption
from tools_svc.domain.call import Sent, Update, Waiting
from tools_svc.domain.naming import CAPABILITIES
from tools_svc.domain.tool import Effect


async def within(seconds: float, updates: AsyncGenerator[Update, None]) -> AsyncGenerator[Update, None]:
    """Pass on what comes in this time; raises `DeadlineExceeded` when it is over before the last of it."""
    ends = asyncio.get_running_loop().time() + seconds
    unsent = False
    async with aclosing(updates):
        while True:
            try:
                # Around each step: a limit around a `yield` would strike whatever its consumer is at.
                async with asyncio.timeout_at(ends):
                    update = await anext(updates, None)
            except TimeoutError:
                raise interruption(seconds=seconds, stopped=False, unsent=unsent) from None
            if update is None:
                return
            unsent = isinstance(update, Waiting) or (unsent and not isinstance(update, Sent))
            yield update


@dataclass(slots=True)
class Attempt:
    """What has come of a call so far, which `ends` at that time of the clock."""

    capability: str
    ends: float
    answered: bool = False
    _open: MeshError | None = None
    _last: MeshError | None = None

    def note(self, error: MeshError, *, sent: bool) -> None:
        """Take note of how a tool's try ended, and whether it was sent anything."""
        if sent and self._open is None and not isinstance(error, ToolServerUnavailable):
            self._open = error if isinstance(error, DeadlineExceeded) else ToolConnectionLost()
        self._last = error

    def failure(self) -> MeshError:
        """Say why nobody has answered. Once something was sent, nobody can say that nothing was."""
        if self._open is not None:
            return self._open
        if self._last is not None:
            return self._last
        return ToolServerUnavailable(f"No tool that can do {self.capability} can be called now.", server=CAPABILITIES)


def leaves_others(error: MeshError, effect: Effect, *, sent: bool) -> bool:
    """Say whether another tool may be asked after this error of one with this effect, which may have been sent it."""
    if isinstance(error, ToolServerUnavailable | Overloaded):
        return True
    return isinstance(error, Unavailable | DeadlineExceeded) and (
        not sent or effect in {Effect.READ_ONLY, Effect.IDEMPOTENT}
    )
