"""The candidates for the next token as samplers of llama.cpp take them: `llama_token_data_array` over a numpy array."""

import ctypes
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.library import native

Logits = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.integer[Any]]

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_SPREAD = 8.0
_WIDEST = 64.0
_TOO_MANY = 8


class Candidates:
    """Room for candidates, which are filled in anew for each token: samplers sort them and cut what they dislike."""

    def __init__(self, room: int) -> None:
        self._all = np.zeros(room, dtype=_CANDIDATE)
        self._first: Any = self._all.ctypes.data_as(native.llama_token_data_p)
        self._array = native.llama_token_data_array()
        self._reference = ctypes.byref(self._array)

    def fill(self, tokens: Tokens, logits: Logits, *, ordered: bool = False) -> None:
        """Put in tokens, each with its logit, at most as many as there is room for; `ordered` by falling logits."""
        count = len(tokens)
        candidates = self._all[:count]
        candidates["id"] = tokens
        candidates["logit"] = logits
        candidates["p"] = 0
        self._begin(count, ordered=ordered)

    def _begin(self, count: int, *, ordered: bool) -> None:
        array = self._array
        array.data, array.size = self._first, count  # a sampler that cuts the first ones moves the pointer
        array.selected, array.sorted = -1, ordered

    def survives(self, token: int, sampler: Any) -> bool:
        """Whether a sampler, or a chain of them, leaves a token over when it is the only candidate."""
        candidate = self._first[0]
        candidate.id, candidate.logit = token, 1.0
        self._begin(1, ordered=False)
        self.pass_through(sampler)
        return math.isfinite(candidate.logit)

    def pass_through(self, sampler: Any) -> None:
        """Apply a sampler, or a chain of them."""
        native.llama_sampler_apply(sampler, self._reference)

    def possible(self) -> tuple[Tokens, Logits]:
        """Give those that a sampler has not ruled out that cuts none, as a grammar."""
        left = self._all[: self._array.size]
        left = left[np.isfinite(left["logit"])]
        return left["id"], left["logit"]

    def chosen(self) -> tuple[int, float]:
        """Give the selected token, and how likely it was among those that were left over."""
        chosen = self._array.data[self._array.selected]
        return int(chosen.id), float(chosen.p)


class Shortlist:
    """Finds the likeliest tokens of a vocabulary without sorting it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._spread = _SPREAD

    def of(self, logits: Logits, *, largest: float) -> Tokens:
        """Give some tokens, in their order, the `size` likeliest among them; `largest` is the largest logit.

        How far those are below the largest differs little from token to token, so it is learnt.
        """
        while self._spread < _WIDEST:
            tokens = np.flatnonzero(logits >= largest - self._spread)
            if len(tokens) >= self.size:
                if len(tokens) > self.size * _TOO_MANY:
                    self._spread *= 0.9
                return tokens
            self._spread *= 1.3
        return all_tokens(len(logits))

    def cut(self, tokens: Tokens, logits: Logits) -> tuple[Tokens, Logits]:
        """Give the likeliest of these tokens, at most `size`, by falling logits; equal ones by their number."""
        order = np.argsort(-logits, kind="stable")[: self.size]
        return tokens[order], logits[order]


@functools.lru_cache(maxsize=4)
def all_tokens(vocabulary: int) -> Tokens:
    """Give the tokens of a vocabulary of this size."""
    return np.arange(vocabulary, dtype=np.int32)
