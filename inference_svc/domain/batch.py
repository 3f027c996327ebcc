"""Who gets how many tokens in the engine's next step. Pure; knows sequences by number."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The next `tokens` of a sequence's prompt."""

    sequence: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One token for each sequence of `decode`, and pieces of prompts."""

    decode: tuple[int, ...]
    prefill: tuple[Chunk, ...]

    @property
    def tokens(self) -> int:
        """The number of tokens that the step computes."""
        return len(self.decode) + sum(chunk.tokens for chunk in self.prefill)


def plan(*, decoding: Sequence[int], prefilling: Sequence[tuple[int, int]], batch: int, prefill: int) -> Step:
    """Plan a step of at most `batch` tokens, `prefill` of them from prompts.

    Sequences that decode all get their token. `prefilling` holds (sequence, tokens left) in the order of arrival. The
    prompt with the least left goes first: so a short one does not wait for a long one, and of equal ones the first is
    done before the next is begun. The oldest gets a quarter in any case, so that it is done in the end.
    """
    left = max(0, min(batch - len(decoding), prefill))
    given = dict.fromkeys((sequence for sequence, _ in prefilling), 0)
    if prefilling:
        oldest, wanted = prefilling[0]
        given[oldest] = min(wanted, left // 4)
        left -= given[oldest]
    for sequence, wanted in sorted(prefilling, key=lambda each: each[1]):
        more = min(wanted - given[sequence], left)
        given[sequence] += more
        left -= more
    chunks = (Chunk(sequence=sequence, tokens=tokens) for sequence, tokens in given.items() if tokens)
    return Step(decode=tuple(decoding), prefill=tuple(chunks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast prompts are read here, learnt from the steps done, so that a step lasts about as long as it may."""

    seconds_per_token: float = 0.004

    def after(self, *, tokens: int, seconds: float) -> "Pace":
        """Learn from a step that read this many tokens."""
        if tokens < _TELLING_TOKENS:
            return self
        return Pace(seconds_per_token=0.7 * self.seconds_per_token + 0.3 * seconds / tokens)

    def tokens_within(self, seconds: float, *, most: int) -> int:
        """Give how many tokens can be read in this time: at least a few, so that every prompt gets on."""
        return max(_LEAST_TOKENS, min(most, int(seconds / max(self.seconds_per_token, 1e-9))))


_TELLING_TOKENS = 8
_LEAST_TOKENS = 8
