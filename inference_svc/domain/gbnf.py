"""A GBNF grammar as a tree; see `gbnf_parser` for how it is written. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]
Sequence = tuple["Item", ...]
Alternatives = tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Characters:
    """One character whose code point is in one of the ranges, which are in order and include both ends."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Name:
    """What the rule of this name stands for."""

    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """One of several sequences."""

    alternatives: Alternatives


@dataclass(frozen=True, slots=True)
class Repeat:
    """One of several sequences, `least` to `most` times, each time any; without end if `most` is None."""

    alternatives: Alternatives
    least: int
    most: int | None


Item = Characters | Name | Group | Repeat
Rules = Mapping[str, Alternatives]
"""Rules by their names; `root` is among them, and every name that is mentioned."""
