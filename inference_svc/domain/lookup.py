"""Guesses at what a model will say next, from what it has read and said already. Pure."""

from collections.abc import Sequence
from itertools import takewhile

from inference_svc.domain.media_tokens import is_media

_GRAM = 3


class PromptLookup:
    """Proposes the tokens that followed the last time the same few tokens stood there (prompt lookup, Saxena 2023).

    Answers that quote, repeat the result of a tool, or edit a text go on for long as their source does.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}

    def read(self, tokens: Sequence[int]) -> None:
        """Add what was read or said, in order."""
        known = self._tokens
        for token in tokens:
            known.append(token)
            if len(known) > _GRAM:  # the newest gram is only found once something has followed it
                self._ends[tuple(known[-_GRAM - 1 : -1])] = len(known) - 1

    def propose(self, most: int) -> list[int]:
        """Give up to `most` tokens that may come next; none where nothing is alike."""
        place = self._ends.get(tuple(self._tokens[-_GRAM:])) if len(self._tokens) >= _GRAM else None
        found = self._tokens[place : place + most] if place is not None else []
        return list(takewhile(lambda token: not is_media(token), found))


class Prediction:
    """An answer that somebody foresees: proposes how it goes on, and knows how much of it came true.

    Where the answer differs, it is found again as soon as its last few tokens stand in the prediction, at the first
    such place behind the last one.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tuple(tokens)
        self._ends: dict[tuple[int, ...], list[int]] = {}
        for end in range(_GRAM, len(self._tokens) + 1):
            self._ends.setdefault(self._tokens[end - _GRAM : end], []).append(end)
        self._said: list[int] = []
        self._place, self._lost = 0, False
        self._found: set[int] = set()

    @property
    def accepted(self) -> int:
        """Count the foreseen tokens that the answer holds."""
        return len(self._found)

    @property
    def rejected(self) -> int:
        """Count the others."""
        return len(self._tokens) - len(self._found)

    def read(self, tokens: Sequence[int]) -> None:
        """Add what was said, in order."""
        for token in tokens:
            self._said = [*self._said[1 - _GRAM :], token]
            if not self._lost and self._tokens[self._place : self._place + 1] == (token,):
                self._found.add(self._place)
                self._place += 1
            else:
                self._look()

    def _look(self) -> None:
        """Find the place behind the last tokens."""
        ends = self._ends.get(tuple(self._said), ())
        self._lost = not ends
        if ends:
            self._place = next((end for end in ends if end > self._place), ends[0])
            self._found |= set(range(self._place - _GRAM, self._place))

    def propose(self, most: int) -> list[int]:
        """Give up to `most` tokens that may come next; none where the answer is another one."""
        return [] if self._lost else list(self._tokens[self._place : self._place + most])
