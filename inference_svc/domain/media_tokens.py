"""Images and sounds among the tokens of a prompt. Pure; knows neither llama.cpp nor pixels.

A model reads an image as embeddings, which have no token ids. In a list of tokens the chunk stands as one negative
number for each position that it takes, made from its identity. So prompts are compared as lists of numbers, with images
and without: the same image matches itself, and two different ones differ.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

MOST_POSITIONS = 65_536
"""Positions that one chunk may take."""

_DIGEST_BYTES = 6


def pseudo_tokens(identity: bytes, positions: int) -> list[int]:
    """Give the numbers that stand for a chunk: negative, of 64 bits, each with 47 bits of the identity's digest."""
    if not 0 < positions <= MOST_POSITIONS:
        raise ValueError(positions)
    digest = hashlib.shake_128(identity).digest(_DIGEST_BYTES * positions)
    parts = (digest[begin : begin + _DIGEST_BYTES] for begin in range(0, len(digest), _DIGEST_BYTES))
    return [-1 - (int.from_bytes(part) // 2 * MOST_POSITIONS + offset) for offset, part in enumerate(parts)]


def is_media(token: int) -> bool:
    """Whether a token stands for a position of an image or a sound."""
    return token < 0


def whole_chunks(tokens: Sequence[int], shared: int) -> int:
    """Cut a prefix back to where no chunk is divided: part of an image cannot be kept or computed.

    `shared` counts the tokens that could be kept of `tokens`; gives how many may be.
    """
    if shared < len(tokens) and is_media(tokens[shared]):
        return shared - (-1 - tokens[shared]) % MOST_POSITIONS
    return shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a chunk stands in a prompt: its first position, the positions it takes and the KV cells it fills.

    They differ where positions have several dimensions (M-RoPE): there an image of 1000 cells may take 40 positions.
    """

    begin: int
    positions: int
    cells: int

    @property
    def end(self) -> int:
        """The first position after it."""
        return self.begin + self.positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the chunks of a prompt stand, in order."""

    spans: tuple[Span, ...] = ()

    def at(self, position: int) -> Span | None:
        """Give the chunk that begins at a position."""
        place = bisect_left(self.spans, position, key=lambda span: span.begin)
        found = self.spans[place : place + 1]
        return found[0] if found and found[0].begin == position else None

    def text_at(self, position: int, most: int) -> int:
        """Count the tokens of text from a position to the next chunk, at most `most`."""
        place = bisect_left(self.spans, position, key=lambda span: span.begin)
        return min(most, self.spans[place].begin - position) if place < len(self.spans) else most

    def cells(self, tokens: int) -> int:
        """Count the KV cells of the first tokens; a chunk that is not whole among them counts by its positions."""
        return tokens + sum(span.cells - span.positions for span in self.spans if span.end <= tokens)
