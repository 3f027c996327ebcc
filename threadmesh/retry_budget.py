"""How often may be asked again, by all callers of a process together: where a service is away, most of them wait."""

import asyncio
from collections import deque
from dataclasses import dataclass

from threadmesh.clock import Clock, SystemClock

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """How many further attempts there may be of what is not answered.

    A service is trusted until `failures` more attempts have failed than its answers make up for: each makes up for
    `per_answer` of them (gRPC's retry throttling, gRFC A6, does the same with other numbers). From then on there may be
    one further attempt for `1 / share` first ones, or `per_second` where that is more, and `per_answer` ones for each
    answer.
    """

    failures: int = 20
    share: float = 0.1
    per_second: float = 2.0
    per_answer: int = 2


class RetryTokens:
    """Tokens for further attempts, earned by first ones, which need none, or by time."""

    def __init__(self, clock: Clock, limits: RetryLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._counted = 0
        self._counted_at = clock.monotonic()
        self._tokens = 1.0
        self._ahead = 0.0

    def take(self, *, asked: int) -> bool:
        """Take a token for one attempt, of so many first ones until now; False if there is none. One is saved."""
        self._tokens = min(1.0, self._tokens + self._earned(asked))
        if self._tokens < 1 - _ROUNDING:
            return False
        self._tokens = 0.0
        return True

    @property
    def wait_seconds(self) -> float:
        """Seconds from the last `take` until there is a token again, if nobody asks anything meanwhile."""
        return (1 - self._tokens + self._ahead) / self._limits.per_second

    def _earned(self, asked: int) -> float:
        """Give what was earned since the last time: by first attempts, and by time as far as these were too few."""
        now = self._clock.monotonic()
        by_time = (now - self._counted_at) * self._limits.per_second
        by_share = (asked - self._counted) * self._limits.share
        self._counted, self._counted_at = asked, now
        ahead = self._ahead + by_share
        self._ahead = min(1.0, max(0.0, ahead - by_time))
        return by_share + max(0.0, by_time - ahead)


class RetryBudget:
    """What all callers of one thing share, to ask again for it together only so often.

    While the service is trusted, whoever wants may ask again. After that they wait in a queue, first come, first
    served. An answer to anybody shows that there is somebody to ask, and lets two go, whose answers let the next go:
    all of them in a few round trips, and yet not at once.
    """

    def __init__(self, clock: Clock, limits: RetryLimits | None = None) -> None:
        self.now = clock.monotonic
        self._limits = limits or RetryLimits()
        self.asked = 0
        """Counts the first attempts; whoever makes one adds it."""
        self.wary = False
        """Whether the budget wants to hear of answers: from a failure on, until that is made up for."""
        self._tokens = RetryTokens(clock, self._limits)
        self._distrust = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait for leave to ask again."""
        return len(self._waiting)

    def answered(self) -> None:
        """Note that an attempt, first or not, was answered."""
        self._distrust = max(0, self._distrust - self._limits.per_answer)
        self._let_go(self._limits.per_answer)
        self.wary = bool(self._distrust or self._waiting)

    def failed(self) -> None:
        """Note that an attempt, first or not, was not answered."""
        self.wary = True
        self._distrust = min(2 * self._limits.failures, self._distrust + 1)
        self._look()

    async def leave(self, *, until: float) -> bool:
        """Wait for leave to ask once more; False if none has come until then."""
        if not self._waiting and self._distrust < self._limits.failures:
            return True
        leave: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(leave)
        self._look()
        try:
            await asyncio.wait([leave], timeout=max(0.0, until - self.now()))
        except asyncio.CancelledError:
            if leave.done():
                self._let_go(1)  # it is another's now
            raise
        finally:
            if not leave.done():
                self._waiting.remove(leave)
        return leave.done()

    def _look(self) -> None:
        """Let those go for whom there are tokens, and come back when there is the next one."""
        while self._waiting and self._tokens.take(asked=self.asked):
            self._let_go(1)
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tokens.wait_seconds, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._look()

    def _let_go(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft().set_result(None)


def unshared() -> RetryBudget:
    """Give the budget of a caller that shares it with nobody."""
    return RetryBudget(SystemClock())
