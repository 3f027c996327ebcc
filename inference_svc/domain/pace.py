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
_TRIAL_ROUNDS = 4
_TRIAL_EVERY = 256
_TRIAL_PAUSE = 32


def thread_numbers(cores: int) -> tuple[int, ...]:
    """Give the numbers of compute threads that are worth trying on so many cores, the largest first."""
    return tuple(sorted({cores, max(1, cores - 1), max(1, cores // 2)}, reverse=True))


@dataclass(slots=True)
class _Trial:
    """Steps of one size, computed with each number of threads in turn; `seconds` adds up what they took."""

    size: int
    order: list[int]
    seconds: dict[int, float]


class ThreadChoice:
    """Chooses the number of compute threads between steps, by how long steps last.

    All cores are fastest on a machine that does nothing else. Beside a neighbour, every barrier between the threads
    waits for the one that was put aside, and fewer threads are faster. So the choice is tried again now and then, and
    when steps take much longer than they used to: each number gets a few steps in turn, and the best one stays.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        """Begin with the first of the numbers."""
        self._numbers = tuple(numbers)
        self._chosen = self._numbers[0]
        self._usual: dict[int, float] = {}
        self._steps = 0
        self._trial: _Trial | None = None

    @property
    def threads(self) -> int:
        """The number of threads for the next step."""
        return self._trial.order[0] if self._trial else self._chosen

    @property
    def trying(self) -> bool:
        """Whether the numbers are being compared just now."""
        return self._trial is not None

    def try_all(self, *, tokens: int) -> None:
        """Compare the numbers in the coming steps, which must be of this many tokens."""
        if len(self._numbers) > 1:
            order = [number for _ in range(_TRIAL_ROUNDS) for number in self._numbers]
            seconds = dict.fromkeys(self._numbers, 0.0)
            self._trial = _Trial(size=tokens.bit_length(), order=order, seconds=seconds)
        self._steps = 0

    def after(self, *, tokens: int, seconds: float) -> None:
        """Learn from a step of this many tokens that was computed with `threads`."""
        size, cost = tokens.bit_length(), seconds / tokens
        if self._trial is not None:
            self._judge(self._trial, size, cost)
        else:
            self._watch(tokens, size, cost)

    def _watch(self, tokens: int, size: int, cost: float) -> None:
        self._steps += 1
        usual = self._usual.get(size, cost)
        self._usual[size] = 0.9 * usual + 0.1 * cost
        if self._steps >= _TRIAL_EVERY or (cost > _SLOW * usual and self._steps >= _TRIAL_PAUSE):
            self.try_all(tokens=tokens)

    def _judge(self, trial: _Trial, size: int, cost: float) -> None:
        """Note a step of a trial; one of another size cannot be compared and ends it."""
        if size != trial.size:
            self._trial = None
            return
        trial.seconds[trial.order.pop(0)] += cost
        if not trial.order:
            best = min(self._numbers, key=lambda number: trial.seconds[number])
            if trial.seconds[best] < _BETTER * trial.seconds[self._chosen]:
                self._chosen = best
            self._usual[size] = trial.seconds[self._chosen] / _TRIAL_ROUNDS
            self._trial = None
