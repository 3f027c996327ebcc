"""Leaves alone for a while what fails too often, so that callers hear at once and it can recover."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from threadmesh.clock import Clock


class BreakerState(StrEnum):
    """Whether calls may pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """When a breaker opens and for how long; Envoy's outlier detection has the same measures.

    It opens after `consecutive` failures in a row, or when `share` of at least `fewest` calls that ended in the last
    `window_seconds` (in steps of a tenth) have failed. It stays open for `rest_seconds`, twice as long after each probe
    that fails, and for `longest_rest_seconds` at most.
    """

    consecutive: int = 5
    share: float = 0.5
    fewest: int = 20
    window_seconds: float = 10.0
    rest_seconds: float = 5.0
    longest_rest_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Permit:
    """One call that may pass; give it back to the breaker with what came of the call."""

    period: int


@dataclass(slots=True)
class _Step:
    number: int
    ended: int = 0
    failed: int = 0


class Breaker:
    """Closed, it lets every call pass and counts; open, none; half-open, one probe, which decides how it goes on.

    Each permit is settled once, by `succeeded`, `failed` or `dropped`. What comes of calls that began before the
    breaker last changed is not counted.
    """

    def __init__(self, clock: Clock, limits: BreakerLimits | None = None) -> None:
        self._clock = clock
        self._limits = limits or BreakerLimits()
        self._period = 0
        self._probing = False
        self._opened_at: float | None = None
        self._rests = 0
        self._row = 0
        self._steps: deque[_Step] = deque()

    @property
    def state(self) -> BreakerState:
        """The present state; an open breaker is half-open as soon as a probe may go."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._left() > 0 else BreakerState.HALF_OPEN

    @property
    def wait_seconds(self) -> float | None:
        """Seconds until a call may pass, 0 when one may now; None while a probe is under way, however long it takes."""
        if self._probing:
            return None
        return max(0.0, self._left())

    def enter(self) -> Permit | None:
        """Let a call pass, or give None."""
        if self.wait_seconds != 0:
            return None
        self._probing = self.state is BreakerState.HALF_OPEN
        return Permit(self._period)

    def succeeded(self, permit: Permit) -> None:
        """Count a call that was answered; a probe's answer closes the breaker."""
        if permit.period != self._period:
            return
        if self._probing:
            self._close()
        else:
            self._row = 0
            self._step().ended += 1

    def failed(self, permit: Permit) -> None:
        """Count a call that failed; a probe's failure opens the breaker again."""
        if permit.period != self._period:
            return
        self._row += 1
        step = self._step()
        step.ended += 1
        step.failed += 1
        if self._probing or self._too_many():
            self._open()

    def dropped(self, permit: Permit) -> None:
        """Take back a permit of a call that says nothing, such as one that its caller gave up."""
        if permit.period == self._period:
            self._probing = False

    def _left(self) -> float:
        if self._opened_at is None:
            return 0.0
        rest = self._limits.rest_seconds * 2.0 ** min(self._rests - 1, 32)
        return self._opened_at + min(rest, self._limits.longest_rest_seconds) - self._clock.monotonic()

    def _too_many(self) -> bool:
        ended, failed = sum(step.ended for step in self._steps), sum(step.failed for step in self._steps)
        crowd = ended >= self._limits.fewest and failed >= self._limits.share * ended
        return crowd or self._row >= self._limits.consecutive

    def _step(self) -> _Step:
        """Give the present step of the window and forget those that have left it."""
        number = int(self._clock.monotonic() / (self._limits.window_seconds / 10))
        while self._steps and self._steps[0].number <= number - 10:
            self._steps.popleft()
        if not self._steps or self._steps[-1].number != number:
            self._steps.append(_Step(number))
        return self._steps[-1]

    def _open(self) -> None:
        self._rests += 1
        self._opened_at = self._clock.monotonic()
        self._begin_period()

    def _close(self) -> None:
        self._rests = 0
        self._opened_at = None
        self._begin_period()

    def _begin_period(self) -> None:
        self._period += 1
        self._probing = False
        self._row = 0
        self._steps.clear()
