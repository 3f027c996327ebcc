"""How fast this machine computes, learnt from the steps it has done. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

_TELLING_TOKENS = 8
_LEAST_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast prompts are read, so that a step lasts about as long as it may."""

    seconds_per_token: float = 0.004

    def after(self, *, tokens: int, seconds: float) -> "Pace":
        """Learn from a step that read this many tokens."""
        if tokens < _TELLING_TOKENS:
            return self
        return Pace(seconds_per_token=0.7 * self.seconds_per_token + 0.3 * seconds / tokens)

    def tokens_within(self, seconds: float, *, most: int) -> int:
        """Give how many tokens can be read in this time: at least a few, so that every prompt gets on."""
        return max(_LEAST_TOKENS, min(most, int(seconds / max(self.seconds_per_token, 1e-9))))


_SLOW = 1.5
_BETTER = 0.95
_ROUNDS = 3
_FIRST_PERIOD, _LAST_PERIOD = 16, 256
_PAUSE = 8


def thread_numbers(cores: int) -> tuple[int, ...]:
    """Give the numbers of compute threads that are worth trying on so many cores, the largest first."""
    return tuple(sorted({cores, max(1, cores - 1), max(1, cores // 2)}, reverse=True))


class ThreadChoice:
    """Chooses the number of compute threads of each step, by how long such steps last.

    All cores are fastest on a machine that does nothing else. Beside a neighbour, every barrier between the threads
    waits for the one that was put aside, and fewer threads are faster. So the choice is tried again now and then, and
    when steps take much longer than they used to: each number gets a few steps in turn, and the best one stays. Steps
    of different sizes are apart, because what a barrier costs weighs more in small ones.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        """Begin with the first of the numbers."""
        self._numbers = tuple(numbers)
        self._sizes: dict[int, _Size] = {}

    def threads(self, tokens: int) -> int:
        """Give the number of threads for a step of this many tokens."""
        return self._size(tokens).threads

    def after(self, *, tokens: int, seconds: float) -> None:
        """Learn from a step of this many tokens that was computed with as many threads as `threads` said."""
        if len(self._numbers) > 1:
            self._size(tokens).after(seconds / tokens)

    def _size(self, tokens: int) -> "_Size":
        return self._sizes.setdefault(tokens.bit_length(), _Size(self._numbers))


class _Size:
    """The choice for steps of about one size; costs are in seconds a token."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._chosen = numbers[0]
        self._period = _FIRST_PERIOD
        self._usual: float | None = None
        self._steps = 0
        self._order: list[int] = []
        self._costs: dict[int, float] = {}

    @property
    def threads(self) -> int:
        return self._order[0] if self._order else self._chosen

    def after(self, cost: float) -> None:
        if self._order:
            self._costs[self._order.pop(0)] += cost
            if not self._order:
                self._decide()
            return
        self._steps += 1
        usual = cost if self._usual is None else self._usual
        self._usual = 0.9 * usual + 0.1 * cost
        if self._steps >= self._period or (cost > _SLOW * usual and self._steps >= _PAUSE):
            self._order = list(self._numbers) * _ROUNDS
            self._costs = dict.fromkeys(self._numbers, 0.0)

    def _decide(self) -> None:
        """End a trial; the longer a choice has held, the later it is tried again."""
        best = min(self._numbers, key=lambda number: self._costs[number])
        if self._costs[best] < _BETTER * self._costs[self._chosen]:
            self._chosen, self._period = best, _FIRST_PERIOD
        else:
            self._period = min(2 * self._period, _LAST_PERIOD)
        self._usual = self._costs[self._chosen] / _ROUNDS
        self._steps = 0
