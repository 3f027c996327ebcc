"""Whether it pays to compute guessed tokens together with the next one, and how many. Pure."""

from enum import StrEnum

_PRIOR_RATE = 0.6
_PRIOR_WEIGHT = 2.0
_FADING = 0.97
_MARGIN = 1.1
_LARGEST_DRAFT = 12


class Speculation(StrEnum):
    """When guessed tokens are computed: where that was measured to pay, never, or whenever there are any."""

    AUTO = "auto"
    OFF = "off"
    ALWAYS = "always"


class StepCost:
    """What a step costs by how many tokens it computes, learnt from the steps that were done.

    On a processor whose cores are busy with one token a second one costs as much again; where the memory is what is
    waited for, a few more are nearly free. Sizes that were never seen are taken from their neighbours by a straight
    line; without any experience, tokens are believed to cost alike.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, *, tokens: int, seconds: float) -> None:
        """Note how long a step took in which every sequence got what it needed and nothing of a prompt was read."""
        known = self._seconds.get(tokens)
        self._seconds[tokens] = seconds if known is None else 0.8 * known + 0.2 * seconds

    def of(self, tokens: int) -> float:
        """Give the seconds a step of so many tokens is believed to take."""
        if not self._seconds:
            return float(tokens)
        below = max((size for size in self._seconds if size <= tokens), default=None)
        above = min((size for size in self._seconds if size >= tokens), default=None)
        if below is None or above is None:
            nearest = above or below or tokens
            return self._seconds[nearest] * tokens / nearest
        if below == above:
            return self._seconds[below]
        share = (tokens - below) / (above - below)
        return self._seconds[below] * (1 - share) + self._seconds[above] * share


class Confidence:
    """How often one sequence's guesses came true lately.

    It begins with a `rate` that was seen elsewhere and is worth as much as `weight` tokens of the sequence's own.
    """

    def __init__(self, *, rate: float = _PRIOR_RATE, weight: float = _PRIOR_WEIGHT) -> None:
        self._hits = rate * weight
        self._tries = weight

    @property
    def rate(self) -> float:
        """The chance that the next guessed token is right."""
        return self._hits / self._tries

    def learn(self, *, proposed: int, accepted: int) -> None:
        """Note how many guessed tokens came true before the first that did not."""
        tried = min(proposed, accepted + 1)
        self._hits = self._hits * _FADING + accepted
        self._tries = self._tries * _FADING + tried


def worthwhile(proposed: int, rate: float, *, beside: int, cost: StepCost) -> int:
    """Give how many of the `proposed` tokens to compute in a step of `beside` others; 0 if it does not pay.

    The step of all sequences gets longer by what the guesses cost, so the gain must outweigh that for all of them.
    """
    plain = beside / cost.of(beside)
    best, gain = 0, plain * _MARGIN
    expected, chance = float(beside), 1.0
    for size in range(1, min(proposed, _LARGEST_DRAFT) + 1):
        chance *= rate
        expected += chance
        speed = expected / cost.of(beside + size)
        if speed > gain:
            best, gain = size, speed
    return best
