"""The drawing of tokens: llama.cpp's sampler chain, with a grammar that is asked only about what was drawn."""

import ctypes
import functools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_svc.adapters.llama_cpp.adjustments import Adjustments
from inference_svc.adapters.llama_cpp.candidates import Candidates, Logits, all_tokens
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.sampler_chain import SamplerChain
from inference_svc.adapters.llama_cpp.stall import must_return
from inference_svc.domain.sampling import Drawing
from threadmesh.conversation import TokenLogprob
from threadmesh.errors import InvalidArgument, UnsupportedSchema

_LIKELY_TOKENS = 256
_LIKELY_LOGITS = 12.0
_COSTLY_SECONDS = 0.05


class TokenSampler:
    """Draws the tokens of one generation.

    Chance comes from (seed, position) alone, so a generation that is continued elsewhere draws the same numbers.
    With a grammar a token is drawn freely and drawn again only if the grammar refuses it: testing one token is cheap,
    testing the vocabulary is not.
    """

    def __init__(
        self,
        model: LoadedModel,
        drawing: Drawing,
        *,
        grammar: str = "",
        logprobs: int | None = None,
        before: Sequence[int] = (),
        again: Sequence[int] = (),
    ) -> None:
        """Build the chain. Raises `UnsupportedSchema` if llama.cpp refuses the grammar.

        `before` are the prompt's tokens. The tokens of `again` were drawn elsewhere and come first, whatever is drawn
        here: so a sampler that `learns` from logits comes to know what it knew there.
        """
        self._model, self._logprobs, self._again = model, logprobs, again
        self.gbnf = grammar
        self._grammar = _grammar(model, grammar) if grammar else None
        self._chain = SamplerChain(model, drawing, before=before)
        self._adjustments = Adjustments(drawing, ends=model.end_tokens if drawing.ignore_eos else ())
        self.resamples = 0

    @property
    def learns(self) -> bool:
        """Whether it must see the logits of every token of an answer, as mirostat must, to go on with it exactly."""
        return self._chain.learns

    @property
    def watches(self) -> bool:
        """Whether it looks at the logits of every token of an answer, also of those that need not be drawn."""
        return self._chain.learns or self._logprobs is not None

    def draw(self, context: Any, row: int, *, position: int) -> int:
        """Draw the token at `position` of the answer from a row of logits, and take it into account."""
        self._chain.renew(position)
        logits = self.row(context, row)
        with self._adjustments.applied(logits):
            token, probability = self._chain.choose(logits)
            if self._grammar is not None and not self._admits(token):
                token, probability = self._redraw(logits)
        if self._chain.learns:
            self._chain.learn(probability)
        if position < len(self._again):
            token = self._again[position]
        self._take(token)
        return token

    def accept(self, token: int) -> None:
        """Take a token into account that was drawn elsewhere. Raises `InvalidArgument` if the grammar refuses it."""
        if not 0 <= token < self._model.vocabulary:
            raise InvalidArgument("There is no such token.", field="emitted_token_ids")
        if not self.takes(token):
            raise InvalidArgument("These tokens do not follow the grammar.", field="emitted_token_ids")

    def takes(self, token: int) -> bool:
        """Take a token into account that need not be drawn, if the grammar admits it; says whether it does."""
        if self._grammar is not None and (self._model.ends(token) or not self._admits(token)):
            return False
        self._take(token)
        return True

    def logprob(self, context: Any, row: int, token: int) -> TokenLogprob | None:
        """Give how likely a token was before penalties and temperature, if the request asked for it."""
        if self._logprobs is None:
            return None
        logits = self.row(context, row)
        largest = float(logits.max())
        total = largest + math.log(float(np.exp(logits - largest).sum()))
        top = tuple(self._entry(each, float(logits[each]) - total) for each in _likeliest(logits, self._logprobs))
        return self._entry(token, float(logits[token]) - total, top)

    def _entry(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        return TokenLogprob(token=self._model.piece(token, special=True), logprob=logprob, top=top)

    def _redraw(self, logits: Logits) -> tuple[int, float]:
        """Draw within the grammar: among the likeliest tokens if it admits any of them, else among all."""
        self.resamples += 1
        for tokens in (_likely(logits), all_tokens(len(logits))):
            candidates = Candidates(len(tokens))
            candidates.fill(tokens, logits[tokens])
            with must_return():
                candidates.pass_through(self._grammar)
            admitted, their_logits = candidates.possible()
            if len(admitted):
                return self._chain.choose(their_logits, admitted)
        # llama.cpp ends the process when its grammar is made to accept what it refuses.
        raise UnsupportedSchema(
            "The grammar leads to a place where no token of this model can follow.", kind="schema_unsatisfiable"
        )

    def _take(self, token: int) -> None:
        if self._grammar is not None and not self._model.ends(token):
            self._follow(token)
        self._chain.accept(token)
        self._adjustments.accept(token)

    def row(self, context: Any, row: int) -> Logits:
        """Give a row of logits, in the context's own memory: the next step overwrites it."""
        first = ctypes.addressof(native.llama_get_logits_ith(context, row).contents)
        memory: Any = (ctypes.c_float * self._model.vocabulary).from_address(first)
        return np.frombuffer(memory, np.float32)

    @functools.cached_property
    def _one(self) -> Candidates:
        return Candidates(1)

    def _admits(self, token: int) -> bool:
        with must_return():
            return self._one.survives(token, self._grammar)

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
        if chain := getattr(self, "_chain", None):
            chain.close()
        if grammar := getattr(self, "_grammar", None):
            native.llama_sampler_free(grammar)
            self._grammar = None

    def __del__(self) -> None:
        self.close()


def _likeliest(logits: Logits, count: int) -> list[int]:
    if not count:
        return []
    found = np.argpartition(logits, -count)[-count:]
    return [int(token) for token in found[np.argsort(logits[found])[::-1]]]


def _likely(logits: Logits) -> npt.NDArray[np.int32]:
    """Give the tokens within a factor of e¹² of the likeliest; at most so many that a grammar tests them quickly."""
    likely = np.flatnonzero(logits > logits.max() - _LIKELY_LOGITS)
    if len(likely) > _LIKELY_TOKENS:
        likely = likely[np.argpartition(logits[likely], -_LIKELY_TOKENS)[-_LIKELY_TOKENS:]]
    return likely.astype(np.int32)


def _grammar(model: LoadedModel, gbnf: str) -> Any:
    grammar = native.llama_sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
    if not grammar:
        raise UnsupportedSchema(
            "The grammar is not valid GBNF, names a rule that is missing, or begins with itself.",
            kind="schema_unsupported",
        )
    return grammar
