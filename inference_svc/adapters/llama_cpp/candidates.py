"""The candidates for the next token as samplers of llama.cpp take them: `llama_token_data_array` over a numpy array."""

from typing import Any

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.library import native

Logits = npt.NDArray[np.float32]
Candidates = npt.NDArray[Any]

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def blank(count: int) -> Candidates:
    """Give room for candidates."""
    return np.zeros(count, dtype=_CANDIDATE)


def candidates_of(tokens: npt.NDArray[np.int32], logits: Logits) -> Candidates:
    """Give candidates for tokens, each with its logit."""
    return fill(blank(len(tokens)), tokens, logits)


def fill(candidates: Candidates, tokens: npt.NDArray[np.int32], logits: Logits) -> Candidates:
    """Make candidates anew in their place; samplers sort them and cut what they dislike."""
    candidates["id"] = tokens
    candidates["logit"] = logits
    candidates["p"] = 0
    return candidates


def view_of(candidates: Candidates) -> Any:
    """Give the `llama_token_data_array` of candidates, which must outlive it; none of them is selected yet."""
    data = candidates.ctypes.data_as(native.llama_token_data_p)
    return native.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)
