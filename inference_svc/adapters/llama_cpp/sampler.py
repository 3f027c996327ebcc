"""The drawing of tokens: llama.cpp's sampler chain, with a grammar that is asked only about what was drawn."""

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.domain.sampling import Drawing, draw_seed
from threadmesh.conversation import TokenLogprob
from threadmesh.errors import Internal, InvalidArgument, UnsupportedSchema

Logits = npt.NDArray[np.float32]

_PENALTY_TOKENS = 64
_LIKELY_TOKENS = 256
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class TokenSampler:
    """Draws the tokens of one generation.

    Chance comes from (seed, position) alone, so a generation that is continued elsewhere draws the same numbers.
    With a grammar a token is drawn freely and drawn again only if the grammar refuses it: testing one token is cheap,
    testing the vocabulary is not.
    """

    def __init__(self, model: LoadedModel, drawing: Drawing, *, grammar: str = "", logprobs: int | None = None) -> None:
        """Build the chain. Raises `UnsupportedSchema` if llama.cpp refuses the grammar."""
        self._model, self._drawing, self._logprobs = model, drawing, logprobs
        self._grammar = _grammar(model, grammar) if grammar else None
        self._chain = _chain(model, drawing)
        self._fixed = int(native.llama_sampler_chain_n(self._chain))
        self.resamples = 0

    def draw(self, context: Any, row: int, *, position: int) -> int:
        """Draw the token at `position` of the answer from a row of logits, and take it into account."""
        self._renew_chance(position)
        if self._grammar is None:
            token = int(native.llama_sampler_sample(self._chain, context, row))
        else:
            token = self._draw_by_grammar(context, row)
        logits = native.llama_get_logits_ith(context, row)
        if math.isnan(logits[token]):
            raise Internal("The model computed something that is not a number.")
        return token

    def accept(self, token: int) -> None:
        """Take a token into account that was drawn elsewhere. Raises `InvalidArgument` if the grammar refuses it."""
        if not 0 <= token < self._model.vocabulary:
            raise InvalidArgument("There is no such token.", field="emitted_token_ids")
        if self._grammar is not None:
            if self._model.ends(token) or not self._admits(token):
                raise InvalidArgument("These tokens do not follow the grammar.", field="emitted_token_ids")
            native.llama_sampler_accept(self._grammar, token)
        native.llama_sampler_accept(self._chain, token)

    def logprob(self, context: Any, row: int, token: int) -> TokenLogprob | None:
        """Give how likely a token was before penalties and temperature, if the request asked for it."""
        if self._logprobs is None:
            return None
        logits = self._row(context, row)
        largest = float(logits.max())
        total = largest + math.log(float(np.exp(logits - largest).sum()))
        top = tuple(self._entry(each, float(logits[each]) - total) for each in _likeliest(logits, self._logprobs))
        return self._entry(token, float(logits[token]) - total, top)

    def _entry(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        return TokenLogprob(token=self._model.piece(token, special=True), logprob=logprob, top=top)

    def _renew_chance(self, position: int) -> None:
        if self._drawing.greedy:
            return
        if native.llama_sampler_chain_n(self._chain) > self._fixed:
            native.llama_sampler_free(native.llama_sampler_chain_remove(self._chain, self._fixed))
        chance = native.llama_sampler_init_dist(draw_seed(self._drawing.seed, position))
        native.llama_sampler_chain_add(self._chain, chance)

    def _draw_by_grammar(self, context: Any, row: int) -> int:
        logits = self._row(context, row)
        token = self._choose(np.arange(len(logits), dtype=np.int32), logits, within_grammar=False)
        if not self._admits(token):
            token = self._redraw(logits)
        if not self._model.ends(token):
            native.llama_sampler_accept(self._grammar, token)
        native.llama_sampler_accept(self._chain, token)
        return token

    def _redraw(self, logits: Logits) -> int:
        """Draw within the grammar: among the likeliest tokens if it admits any of them, else among all."""
        self.resamples += 1
        for count in (_LIKELY_TOKENS, len(logits)):
            token = self._choose(np.array(_likeliest(logits, count), dtype=np.int32), logits, within_grammar=True)
            if self._admits(token):
                return token
        # llama.cpp ends the process when its grammar is made to accept what it refuses.
        raise UnsupportedSchema("The grammar leads to a place where no token of this model can follow.")

    def _choose(self, tokens: npt.NDArray[Any], logits: Logits, *, within_grammar: bool) -> int:
        candidates = np.empty(len(tokens), dtype=_CANDIDATE)
        candidates["id"] = tokens
        candidates["logit"] = logits[tokens]
        candidates["p"] = 0
        array = _array(candidates)
        if within_grammar:
            native.llama_sampler_apply(self._grammar, ctypes.byref(array))
        native.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _row(self, context: Any, row: int) -> Logits:
        return np.ctypeslib.as_array(native.llama_get_logits_ith(context, row), (self._model.vocabulary,))

    def _admits(self, token: int) -> bool:
        single = np.array([(token, 1.0, 0.0)], dtype=_CANDIDATE)
        array = _array(single)
        native.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return math.isfinite(array.data[0].logit)

    def close(self) -> None:
        """Free the chain and the grammar; more than once does no harm."""
        for name in ("_chain", "_grammar"):
            if sampler := getattr(self, name, None):
                native.llama_sampler_free(sampler)
                setattr(self, name, None)

    def __del__(self) -> None:
        self.close()


def _likeliest(logits: Logits, count: int) -> list[int]:
    if not count:
        return []
    found = np.argpartition(logits, -count)[-count:]
    return [int(token) for token in found[np.argsort(logits[found])[::-1]]]


def _array(candidates: npt.NDArray[Any]) -> Any:
    data = candidates.ctypes.data_as(native.llama_token_data_p)
    return native.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)


def _grammar(model: LoadedModel, gbnf: str) -> Any:
    grammar = native.llama_sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
    if not grammar:
        raise UnsupportedSchema("The grammar is not valid GBNF, names a rule that is missing, or begins with itself.")
    return grammar


def _chain(model: LoadedModel, drawing: Drawing) -> Any:
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    for sampler in _links(model, drawing):
        native.llama_sampler_chain_add(chain, sampler)
    return chain


def _links(model: LoadedModel, drawing: Drawing) -> list[Any]:
    links = []
    if drawing.logit_bias:
        entries = [native.llama_logit_bias(token=token, bias=bias) for token, bias in drawing.logit_bias.items()]
        biases = (native.llama_logit_bias * len(entries))(*entries)
        links.append(native.llama_sampler_init_logit_bias(model.vocabulary, len(biases), biases))
    if drawing.penalises:
        repeat, frequency, presence = drawing.repeat_penalty, drawing.frequency_penalty, drawing.presence_penalty
        links.append(
            native.llama_sampler_init_penalties(model.vocabulary, _PENALTY_TOKENS, repeat, frequency, presence)
        )
    if drawing.greedy:
        return [*links, native.llama_sampler_init_greedy()]
    links.append(native.llama_sampler_init_top_k(drawing.top_k))
    links.append(native.llama_sampler_init_top_p(drawing.top_p, 1))
    links.append(native.llama_sampler_init_min_p(drawing.min_p, 1))
    links.append(native.llama_sampler_init_temp(drawing.temperature))
    return links
