"""The drawing of tokens: llama.cpp's sampler chain, with a grammar that is asked only about what was drawn."""

import ctypes
import functools
import math
import time
from typing import Any

import llama_cpp.llama_cpp as native
import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.candidates import Candidates, Logits, blank, candidates_of, fill, view_of
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.stall import must_return
from inference_svc.domain.sampling import Drawing, draw_seed
from threadmesh.conversation import TokenLogprob
from threadmesh.errors import Internal, InvalidArgument, UnsupportedSchema

_PENALTY_TOKENS = 64
_LIKELY_TOKENS = 256
_LIKELY_LOGITS = 12.0
_COSTLY_SECONDS = 0.05


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
        if grammar:
            self._candidates = blank(model.vocabulary)
            self._one = blank(1)
            self._single = view_of(self._one)
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
            self._follow(token)
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
        token = self._choose(fill(self._candidates, _all_tokens(len(logits)), logits))
        if not self._admits(token):
            token = self._redraw(logits)
        if not self._model.ends(token):
            self._follow(token)
        native.llama_sampler_accept(self._chain, token)
        return token

    def _redraw(self, logits: Logits) -> int:
        """Draw within the grammar: among the likeliest tokens if it admits any of them, else among all."""
        self.resamples += 1
        for tokens in (_likely(logits), _all_tokens(len(logits))):
            candidates = candidates_of(tokens, logits[tokens])
            with must_return():
                native.llama_sampler_apply(self._grammar, ctypes.byref(view_of(candidates)))
            admitted = candidates[np.isfinite(candidates["logit"])]
            if len(admitted):
                return self._choose(admitted)
        # llama.cpp ends the process when its grammar is made to accept what it refuses.
        raise UnsupportedSchema("The grammar leads to a place where no token of this model can follow.")

    def _choose(self, candidates: Candidates) -> int:
        array = view_of(candidates)
        native.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _row(self, context: Any, row: int) -> Logits:
        return np.ctypeslib.as_array(native.llama_get_logits_ith(context, row), (self._model.vocabulary,))

    def _admits(self, token: int) -> bool:
        single = self._single
        single.data[0].id, single.data[0].logit = token, 1.0
        with must_return():
            native.llama_sampler_apply(self._grammar, ctypes.byref(single))
        return math.isfinite(single.data[0].logit)

    def _follow(self, token: int) -> None:
        """Let the grammar go on by a token. Raises `UnsupportedSchema` where it can go on in ever more ways."""
        began = time.thread_time()
        with must_return():
            native.llama_sampler_accept(self._grammar, token)
        if time.thread_time() - began > _COSTLY_SECONDS:
            raise UnsupportedSchema(
                "The grammar can go on in too many ways at once; let its alternatives begin differently.",
                kind="schema_too_complex",
            )

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


@functools.lru_cache(maxsize=4)
def _all_tokens(vocabulary: int) -> npt.NDArray[np.int32]:
    return np.arange(vocabulary, dtype=np.int32)


def _likely(logits: Logits) -> npt.NDArray[np.int32]:
    """Give the tokens within a factor of e¹² of the likeliest; at most so many that a grammar tests them quickly."""
    likely = np.flatnonzero(logits > logits.max() - _LIKELY_LOGITS)
    if len(likely) > _LIKELY_TOKENS:
        likely = likely[np.argpartition(logits[likely], -_LIKELY_TOKENS)[-_LIKELY_TOKENS:]]
    return likely.astype(np.int32)


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
