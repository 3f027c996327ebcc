"""The little arithmetic that reports need. What cannot be computed is NaN, never an error."""

import math
from collections.abc import Sequence

NOTHING = math.nan


def percentile(samples: Sequence[float], percent: float) -> float:
    """Give the value below which `percent` of the samples lie, interpolated linearly; NaN without samples."""
    if not samples:
        return NOTHING
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(value: float, to: float) -> float:
    """Give `value` in units of `to`; NaN where that has no meaning."""
    return value / to if to and not math.isnan(to) else NOTHING
