"""How long to wait before the next attempt."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double from `first` to `most` seconds, each drawn at random so that servers do not return in step.

    A connection that lived for `stable` seconds is taken for a good one: its loss counts as the first.
    """

    first: float = 1.0
    most: float = 30.0
    stable: float = 10.0

    def seconds(self, failures: int) -> float:
        """Draw the wait after so many failures in a row."""
        longest = min(self.most, self.first * 2.0 ** min(failures, 32))
        return random.uniform(self.first, longest)  # noqa: S311  # spreads load; nothing to guess
