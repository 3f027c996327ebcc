"""A clock that stands still until it is told to go on."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A `Clock` whose time passes only by `advance`."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Give the date and time, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Give the seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
