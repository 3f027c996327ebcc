"""In which form a model's weights are held for computing. Pure; knows figures, not llama.cpp.

Processors multiply matrices of some number formats much faster than of others, and not every quantised format has a
fast kernel for prompts and batches. Dequantised weights may then compute faster, and more exactly, for more memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

READING = 64
"""Tokens of the prompt by which reading is measured."""

TOGETHER = (1, 4, 8)
"""Numbers of answers drawn at the same time by which drawing is measured."""

_TYPICAL_READ, _TYPICAL_DRAWN = 200, 50
_WORTH = 0.9
_QUANTISED_BITS = 15.0


class Form(StrEnum):
    """How weights are held: as the file has them, or dequantised to 16 bits."""

    FILE = "file"
    BF16 = "bf16"
    F16 = "f16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The weights of a file: how many there are, and the bytes they take."""

    weights: int
    bytes: int

    @property
    def quantised(self) -> bool:
        """Whether most of them are held in fewer than 16 bits."""
        return self.weights > 0 and self.bytes * 8 / self.weights < _QUANTISED_BITS

    @property
    def dequantised_bytes(self) -> int:
        """The bytes they take in 16 bits each."""
        return 2 * self.weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds of one token: of a prompt that is read, and of answers by how many are drawn at the same time."""

    reading: float
    drawing: Mapping[int, float]

    @property
    def typical(self) -> float:
        """CPU seconds of a typical request: 200 tokens read, 50 drawn, equally many alone, in fours and in eights."""
        drawing = sum(self.drawing.values()) / len(self.drawing)
        return _TYPICAL_READ * self.reading + _TYPICAL_DRAWN * drawing


def alternative(size: Size, *, in_memory: bool, budget: int, fast_bf16: bool) -> Form:
    """Give the form to measure against the file's own; FILE where none comes into question.

    `in_memory` says that the processor computes from main memory, `budget` how many bytes the weights may take, and
    `fast_bf16` that the processor multiplies BF16; others multiply F16 or widen it quickly.
    """
    if not in_memory or not size.quantised or size.dequantised_bytes > budget:
        return Form.FILE
    return Form.BF16 if fast_bf16 else Form.F16


def choose(costs: Mapping[Form, Cost]) -> Form:
    """Choose the cheapest form by its typical request. A copy must save a tenth, because it takes memory and disk."""
    best = min(costs, key=lambda form: costs[form].typical)
    return best if costs[best].typical < _WORTH * costs[Form.FILE].typical else Form.FILE
