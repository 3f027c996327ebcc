"""Who gets how many tokens in the engine's next step. Pure; knows sequences by number."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SMALL_TOKENS = 64
"""A step that reads this many tokens computes each of them about as fast as a larger one would."""
_LEAST_TOKENS = 8
"""A prompt that is read beside sequences that decode gets at least so many tokens a step."""

_LONGEST_CREDIT_SECONDS = 0.5

_FIRST = 0.5
"""By how much less than a token who comes is before those who are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A sequence whose prompt is being read: how many tokens are left, and when it would be done if it were alone.

    `rank` is its priority, the lowest goes first; `due` is in seconds, of any clock that all readers share. `turn` is
    its tenant's (`Turns`).
    """

    sequence: int
    tokens: int
    due: float = 0.0
    rank: int = 0
    turn: float = 0.0


class Turns:
    """Whose prompts are read next: those of the tenant for whom least was read.

    A tenant with a hundred prompts and one with a single one get on alike. Who comes, or comes back, begins level with
    those who are there, so that nobody saves up, and goes first once.
    """

    def __init__(self) -> None:
        self._read: dict[str, float] = {}

    def of(self, tenants: Iterable[str]) -> Mapping[str, float]:
        """Give the turns of the tenants that have prompts to read; the lowest is next, and all others are forgotten."""
        present = set(tenants)
        here = {tenant: read for tenant, read in self._read.items() if tenant in present}
        least = min(here.values(), default=0.0)
        self._read = {tenant: here.get(tenant, least - _FIRST) for tenant in present}
        return self._read

    def read(self, tenant: str, *, tokens: int) -> None:
        """Note what was read for a tenant."""
        if tenant in self._read:
            self._read[tenant] += tokens


def guests(tenants: Iterable[str]) -> set[str]:
    """Give the tenants that ask for one thing, if another asks for several. What has no tenant is nobody's guest."""
    asking = Counter(tenants)
    several = any(count > 1 for count in asking.values())
    return {tenant for tenant, count in asking.items() if tenant and count == 1} if several else set()


class Pauses:
    """Whether everybody else pauses for a step, so that the prompt of a guest is read as fast as if it were alone.

    Beside fifteen that decode a prompt is read in small pieces, each as long as a step of all fifteen: who asks for
    little would wait several times as long for a first token because another asks for much. Pauses take half of the
    time at most: they are paid with the time of the other steps.
    """

    def __init__(self) -> None:
        self._credit = _LONGEST_CREDIT_SECONDS

    @property
    def allowed(self) -> bool:
        """Whether others may pause for the next step."""
        return self._credit > 0

    def after(self, *, seconds: float, paused: bool) -> None:
        """Note how long a step took, and whether others paused for it."""
        self._credit = min(_LONGEST_CREDIT_SECONDS, self._credit + (-seconds if paused else seconds))


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


def mixed_tokens(decoding: int, *, batch: int, mixed: int) -> int:
    """Give how many tokens a step may have in which `decoding` tokens are not from prompts.

    That is `mixed` rather than `batch` as long as a prompt gets on with it.
    """
    return mixed if decoding and mixed - decoding >= _LEAST_TOKENS else batch


def plan(*, decoding: Sequence[int], reading: Sequence[Reader], batch: int, prefill: int) -> Step:
    """Plan a step of at most `batch` tokens, `prefill` of them from prompts.

    Sequences that decode all get their token. Prompts are read one after the other, by rank, then by their tenants'
    turns, and then by when they would have been done alone: so equal ones of a tenant are read in the order of arrival,
    a short one passes a long one, and a long one is passed only by those that came before its own end. The step ends
    where it completes a prompt, so that its reader does not wait for the prompts behind it; only very short prompts
    travel together.
    """
    left = max(0, min(batch - len(decoding), prefill))
    chunks: list[Chunk] = []
    given = 0
    for reader in sorted(reading, key=lambda each: (each.rank, each.turn, each.due)):
        room = min(left, SMALL_TOKENS) - given if chunks else left
        tokens = min(reader.tokens, room)
        if tokens <= 0:
            break
        chunks.append(Chunk(sequence=reader.sequence, tokens=tokens))
        given += tokens
    return Step(decode=tuple(decoding), prefill=tuple(chunks))
