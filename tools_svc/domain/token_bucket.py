"""How often something may happen."""

from dataclasses import dataclass

from threadmesh.clock import Clock

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many calls a second on average, and `burst` of them at once."""

    per_second: float
    burst: int


class TokenBucket:
    """Tokens come in at a rate and stay up to the burst."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._at = clock.monotonic()

    def wait_seconds(self, *, ahead: int = 0) -> float:
        """Give the seconds until there is a token for who comes after `ahead` others; 0 when there is one now."""
        now = self._clock.monotonic()
        self._tokens = min(float(self._rate.burst), self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now
        missing = 1 + ahead - self._tokens
        return missing / self._rate.per_second if missing > _ROUNDING else 0.0

    def take(self) -> None:
        """Take a token that is there."""
        self._tokens -= 1
