"""So much a minute."""


class Allowance:
    """An amount that may be used each minute, and comes back evenly; unused, it waits up to a minute's worth.

    More may be taken than is there: what is owed comes back first. Times are seconds of a monotonic clock.
    """

    def __init__(self, per_minute: int, *, now: float) -> None:
        self.per_minute = per_minute
        self._left = float(per_minute)
        self._at = now

    def left(self, now: float) -> float:
        """Give what may be used now; negative where something is owed."""
        self._left = min(float(self.per_minute), self._left + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._left

    def take(self, amount: float, now: float) -> None:
        """Use an amount, or with a negative one give it back."""
        self._left = min(float(self.per_minute), self.left(now) - amount)

    def seconds_until(self, amount: float, now: float) -> float:
        """Give the seconds until an amount is there; what is more than a minute's worth waits for that."""
        missing = min(amount, self.per_minute) - self.left(now)
        return max(0.0, missing * 60 / self.per_minute)
