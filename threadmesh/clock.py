"""Time as an argument: what reads the clock takes one of these."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time. Records carry `now`; waits, leases and durations are measured by `monotonic`."""

    def now(self) -> datetime:
        """Give the date and time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never jump, from an arbitrary beginning."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the date and time, in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Gives seconds that never jump, since the machine started; as it is, because it is asked for each token."""
