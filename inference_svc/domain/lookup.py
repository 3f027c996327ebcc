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
