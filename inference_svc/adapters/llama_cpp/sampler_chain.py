"""llama.cpp's samplers in one chain, in the order of its own tools.

The order is that of `common_params_sampling::samplers` in common/common.h: biases and penalties (see `adjustments`),
DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature. Mirostat takes the place of what narrows the choice;
unlike those tools, which drop them, it leaves penalties and DRY where they are. Samplers that draw lots hold a
generator, so they are made anew for each token, with a seed that depends on its position alone.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

from inference_svc.adapters.llama_cpp.candidates import Candidates, Logits, Shortlist, Tokens, all_tokens
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.domain.sampling import Drawing, draw_seed
from threadmesh.errors import Internal
from threadmesh.sampling import Dry

_POSSIBLE = 1e-10
"""The least probability, relative to the likeliest token's, for samplers that sort all tokens and take logarithms: the
rest would all together be drawn once in 100,000 times, takes milliseconds to sort, and may be 0 in single precision."""
_MIROSTAT_TOKENS = 100
_LONGEST = 1024
_LARGEST_BOUND = 20.0
"""In bits. Where nothing surprises mirostat's bound would grow for ever, until version 1 of it overflows."""


class SamplerChain:
    """The samplers of one generation, without its grammar, biases and penalties."""

    def __init__(self, model: LoadedModel, drawing: Drawing, *, before: Sequence[int] = ()) -> None:
        """Build the chain; DRY looks for repetitions in the tokens `before` the answer, too."""
        self._model, self._drawing = model, drawing
        self.handle = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        dry = _dry(model, drawing.dry, before)
        self._shortlist = Shortlist(drawing.top_k) if _shortlisted(drawing) and not dry else None
        links = dry + _narrowing(drawing, cut=self._shortlist is not None)
        for sampler in links:
            native.llama_sampler_chain_add(self.handle, sampler)
        self._fixed, self._renewed = len(links), 0
        self._plain = drawing.greedy and not dry
        self._by_dist = drawing.mirostat is None and drawing.xtc is None and not drawing.greedy
        self._bound = 2 * drawing.mirostat.tau if drawing.mirostat else 0.0

    @functools.cached_property
    def _candidates(self) -> Candidates:
        return Candidates(self._shortlist.size if self._shortlist else self._model.vocabulary)

    def choose(self, logits: Logits, tokens: Tokens | None = None) -> tuple[int, float]:
        """Choose one of the `tokens`, whose logits these are, or of all; gives how likely it was among the last ones.

        That is of no meaning for a greedy drawing. Raises `Internal` where a logit is not a number.
        """
        best = int(logits.argmax())
        if not math.isfinite(largest := float(logits[best])):
            raise Internal("The model computed something that is not a number.")
        if self._plain:
            return (best if tokens is None else int(tokens[best])), 1.0
        if self._shortlist is not None:
            if tokens is None:
                tokens = self._shortlist.of(logits, largest=largest)
                logits = logits[tokens]
            tokens, logits = self._shortlist.cut(tokens, logits)
        self._candidates.fill(
            all_tokens(len(logits)) if tokens is None else tokens, logits, ordered=self._shortlist is not None
        )
        self._candidates.pass_through(self.handle)
        return self._candidates.chosen()

    def renew(self, position: int) -> None:
        """Give the samplers that draw lots the chance of this position."""
        while self._renewed:
            native.llama_sampler_free(native.llama_sampler_chain_remove(self.handle, self._fixed))
            self._renewed -= 1
        if self._by_dist:
            chance = native.llama_sampler_init_dist(draw_seed(self._drawing.seed, position))
            native.llama_sampler_chain_add(self.handle, chance)
            self._renewed = 1
        elif not self._drawing.greedy:
            for sampler in self._lots(position):
                native.llama_sampler_chain_add(self.handle, sampler)
                self._renewed += 1

    def _lots(self, position: int) -> tuple[Any, ...]:
        """Give what draws lots with XTC or by mirostat."""
        drawing = self._drawing
        seed = draw_seed(drawing.seed, position)
        if drawing.mirostat is not None or drawing.xtc is None:
            return (self._mirostat(seed),)
        apart = draw_seed(~drawing.seed, position)  # from one seed, what XTC leaves out would tell what is drawn
        xtc = native.llama_sampler_init_xtc(drawing.xtc.probability, drawing.xtc.threshold, 1, apart)
        return xtc, native.llama_sampler_init_temp(drawing.temperature), native.llama_sampler_init_dist(seed)

    def _mirostat(self, seed: int) -> Any:
        """Make mirostat with the bound learnt so far: in llama.cpp it begins at twice the `tau` of a new sampler."""
        half = self._bound / 2
        if self._drawing.mirostat and self._drawing.mirostat.mode == 1:
            return native.llama_sampler_init_mirostat(self._model.vocabulary, seed, half, 0.0, _MIROSTAT_TOKENS)
        return native.llama_sampler_init_mirostat_v2(seed, half, 0.0)

    @property
    def learns(self) -> bool:
        """Whether the next token depends on how likely the earlier ones were; see `learn`."""
        return self._drawing.mirostat is not None and not self._drawing.greedy

    def learn(self, probability: float) -> None:
        """Take into account how likely the drawn token was among those that could be drawn."""
        if self._drawing.mirostat is not None:
            surprise = -math.log2(max(probability, _POSSIBLE))
            step = self._drawing.mirostat.eta * (surprise - self._drawing.mirostat.tau)
            self._bound = min(self._bound - step, _LARGEST_BOUND)

    def accept(self, token: int) -> None:
        """Take a token into account that was drawn."""
        native.llama_sampler_accept(self.handle, token)

    def close(self) -> None:
        """Free the chain; more than once does no harm."""
        if self.handle:
            native.llama_sampler_free(self.handle)
            self.handle = None


def _shortlisted(drawing: Drawing) -> bool:
    """Whether a few tokens can be picked out before llama.cpp samples: only top-k stands before those that look at all.

    To fill in, sort and cut the whole vocabulary takes most of the time of a token.
    """
    return not drawing.greedy and drawing.mirostat is None and not drawing.top_n_sigma and 0 < drawing.top_k <= _LONGEST


def _dry(model: LoadedModel, dry: Dry | None, before: Sequence[int]) -> list[Any]:
    if dry is None or not dry.multiplier or not dry.penalty_last_n:
        return []
    breakers = [breaker.encode(errors="replace") for breaker in dry.sequence_breakers]
    sampler = native.llama_sampler_init_dry(
        model.vocab,
        dry.multiplier,
        dry.base,
        dry.allowed_length,
        dry.penalty_last_n,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )
    for token in before[-dry.penalty_last_n :]:
        native.llama_sampler_accept(sampler, token)
    return [sampler]


def _narrowing(drawing: Drawing, *, cut: bool) -> list[Any]:
    """Give what chooses the tokens among which one is drawn; `cut` are those that stand on a shortlist already."""
    if drawing.greedy:
        return [native.llama_sampler_init_greedy()]
    temperature = native.llama_sampler_init_temp
    if drawing.mirostat is not None:
        return [temperature(drawing.temperature), native.llama_sampler_init_min_p(_POSSIBLE, 1)]
    links = []
    if drawing.top_n_sigma:
        links.append(native.llama_sampler_init_top_n_sigma(drawing.top_n_sigma))
    if not cut:
        links.append(native.llama_sampler_init_top_k(drawing.top_k))
    if drawing.typical_p < 1:
        links.append(native.llama_sampler_init_min_p(_POSSIBLE, 1))
        links.append(native.llama_sampler_init_typical(drawing.typical_p, 1))
    links.append(native.llama_sampler_init_top_p(drawing.top_p, 1))
    links.append(native.llama_sampler_init_min_p(drawing.min_p, 1))
    if drawing.xtc is None:
        links.append(temperature(drawing.temperature))
    return links
