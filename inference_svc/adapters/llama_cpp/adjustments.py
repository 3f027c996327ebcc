"""What a request's biases and penalties do to the logits of a step.

llama.cpp's own samplers for them look at every token of the vocabulary, which takes longer than all others together.
Only the tokens with a bias, and those that were said lately, can change; these are changed here, in their place.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.candidates import Logits
from inference_svc.domain.sampling import Drawing


class Adjustments:
    """Follows one answer: `accept` every token of it, in their order."""

    def __init__(self, drawing: Drawing, *, ends: Sequence[int] = ()) -> None:
        """`ends` are the tokens that end an answer; `ignore_eos` forbids them."""
        biases = dict(drawing.logit_bias)
        if drawing.ignore_eos:
            biases |= dict.fromkeys(ends, float("-inf"))
        self._biased = _tokens(biases)
        self._biases = np.fromiter(biases.values(), np.float32, len(biases))
        self._repeat = np.float32(drawing.repeat_penalty)
        self._frequency = np.float32(drawing.frequency_penalty)
        self._presence = np.float32(drawing.presence_penalty)
        self._window: deque[int] = deque(maxlen=drawing.repeat_last_n if drawing.penalises else 0)
        self._counts: Counter[int] = Counter()

    def accept(self, token: int) -> None:
        """Take a token into account that was drawn."""
        if not self._window.maxlen:
            return
        if len(self._window) == self._window.maxlen:
            self._forget(self._window.popleft())
        self._window.append(token)
        self._counts[token] += 1

    def _forget(self, token: int) -> None:
        self._counts[token] -= 1
        if not self._counts[token]:
            del self._counts[token]

    @contextmanager
    def applied(self, logits: Logits) -> Iterator[None]:
        """Let the logits of a whole vocabulary be adjusted for the block."""
        said = _tokens(self._counts)
        unbiased = logits[self._biased]
        logits[self._biased] += self._biases
        unpenalised = logits[said]
        logits[said] = self._penalised(unpenalised)
        try:
            yield
        finally:
            logits[said] = unpenalised
            logits[self._biased] = unbiased

    def _penalised(self, logits: Logits) -> Logits:
        """Give the logits of the tokens of the window after their penalties, by the formulas of llama.cpp."""
        counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        repeated = np.where(logits <= 0, logits * self._repeat, logits / self._repeat)
        penalised: Logits = repeated - (counts * self._frequency + self._presence)
        return penalised


def _tokens(tokens: "dict[int, float] | Counter[int]") -> npt.NDArray[np.int64]:
    return np.fromiter(tokens, np.int64, len(tokens))
