"""What each sampler does to what the bundled model would say, and that a generation can be continued elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from inference_svc.adapters.llama_cpp.backend import LlamaCppBackend
from inference_svc.adapters.llama_cpp.candidates import Logits
from inference_svc.adapters.llama_cpp.context import Context, Entry
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import ContextOptions
from inference_svc.adapters.llama_cpp.sampler import TokenSampler
from inference_svc.domain.prompt import Grammar
from inference_svc.domain.sampling import Drawing, draw_seed
from tests.inference_svc.engines import GREEDY, answered, bundled, bundled_model, end_of, ids_of, prompt, text_of
from threadmesh.conversation import FinishReason
from threadmesh.errors import Internal, InvalidArgument
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

pytestmark = pytest.mark.model

COUNT = "Count: one two three four five six seven eight nine ten."
WIDE = Drawing(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


class Desk:
    """The logits after one text, for drawing from them again and again."""

    def __init__(self) -> None:
        self.model = LoadedModel(bundled_model())
        self.context = Context(self.model, ContextOptions(cells=256, slots=1, rows=1, batch=64, threads=1))
        tokens = self.model.tokenize("My favourite animal is the", special=False)
        _, [self.row] = self.context.decode([Entry(sequence=0, position=0, tokens=tokens, wanted=1)])
        self.logits = self.row_copy()
        self.best = int(self.logits.argmax())

    def drawn(
        self, drawing: Drawing, *, said: Sequence[int] = (), before: Sequence[int] = (), times: int = 100
    ) -> list[int]:
        """Draw the first token of an answer as often as asked, each time with the chance of another seed."""
        tokens = []
        for seed in range(times):
            sampler = TokenSampler(self.model, replace(drawing, seed=seed), before=before)
            for token in said:
                sampler.accept(token)
            tokens.append(sampler.draw(self.context.handle, self.row, position=len(said)))
            sampler.close()
        return tokens

    def row_of(self, drawing: Drawing, *, times: int) -> list[int]:
        """Draw several tokens of one answer, all from the same logits."""
        sampler = TokenSampler(self.model, drawing)
        tokens = [sampler.draw(self.context.handle, self.row, position=position) for position in range(times)]
        sampler.close()
        return tokens

    def row_copy(self) -> Logits:
        return TokenSampler(self.model, WIDE).row(self.context.handle, self.row).copy()

    def probability(self, token: int) -> float:
        likely = np.exp(self.logits - self.logits.max())
        return float(likely[token] / likely.sum())


@cache
def shared_desk() -> Desk:
    return Desk()


@pytest.fixture
def desk() -> Desk:
    return shared_desk()


@pytest.fixture
def backend() -> LlamaCppBackend:
    return bundled()[0]


def test_typical_p_keeps_the_tokens_of_expected_surprise(desk: Desk) -> None:
    free, typical = set(desk.drawn(WIDE)), set(desk.drawn(replace(WIDE, typical_p=0.2)))
    likely = np.exp(desk.logits - desk.logits.max())
    likely /= likely.sum()
    distance = np.abs(-np.log(likely) + (likely * np.log(likely)).sum())
    order = np.argsort(distance)
    kept = set(order[: int((likely[order].cumsum() <= 0.2).sum()) + 1].tolist())

    assert len(typical) < len(free)
    assert typical <= kept


@pytest.mark.parametrize(
    "narrowed", [{"typical_p": 0.5}, {"mirostat": Mirostat(mode=1)}, {"mirostat": Mirostat(mode=2)}]
)
def test_a_token_that_is_impossible_disturbs_nothing(desk: Desk, narrowed: dict[str, Any]) -> None:
    plain = replace(WIDE, **narrowed)

    assert desk.drawn(replace(plain, ignore_eos=True), times=30) == desk.drawn(plain, times=30)


def test_top_n_sigma_keeps_what_is_near_the_highest_logit(desk: Desk) -> None:
    deviation = float(desk.logits.std())
    drawn = desk.drawn(replace(WIDE, top_n_sigma=2.0))

    assert set(desk.drawn(replace(WIDE, top_n_sigma=0.001))) == {desk.best}
    assert all(desk.logits[token] >= desk.logits[desk.best] - 2 * deviation - 1e-3 for token in drawn)


def test_top_n_sigma_and_typical_p_together_draw_possible_tokens(desk: Desk) -> None:
    drawn = desk.drawn(replace(WIDE, top_n_sigma=2.0, typical_p=0.9))
    deviation = float(desk.logits.std())

    assert all(desk.logits[token] >= desk.logits[desk.best] - 2 * deviation - 1e-3 for token in drawn)


def test_xtc_leaves_out_the_likeliest_tokens(desk: Desk) -> None:
    threshold = desk.probability(int(np.argsort(desk.logits)[-3]))
    above = set(np.argsort(desk.logits)[-2:].tolist())
    always = desk.drawn(replace(WIDE, xtc=Xtc(probability=1.0, threshold=threshold * 0.99)))
    never = desk.drawn(replace(WIDE, xtc=Xtc(probability=0.0)))
    half = desk.drawn(replace(WIDE, xtc=Xtc(probability=0.5, threshold=threshold * 0.99)))

    assert not above & set(always)
    assert never == desk.drawn(WIDE)
    assert above & set(half)
    assert half not in (always, never)


def test_dry_makes_the_continuation_of_a_repetition_rarer(desk: Desk) -> None:
    one, two = desk.model.tokenize(" quick brown", special=False)
    said = [one, two, desk.best, one, two]
    greedy = Drawing(temperature=0.0, dry=Dry(multiplier=50.0))

    assert desk.drawn(greedy, times=1) == [desk.best]
    assert desk.drawn(greedy, said=said, times=1) != [desk.best]
    assert desk.drawn(greedy, said=[desk.best, one, two], times=1) == [desk.best], "that repeats nothing"


def test_dry_looks_for_repetitions_in_the_prompt(desk: Desk) -> None:
    one, two = desk.model.tokenize(" quick brown", special=False)
    prompt_tokens, said = [5, 6, one, two, desk.best, 7, 8], [one, two]

    def drawn(dry: Dry) -> list[int]:
        return desk.drawn(Drawing(temperature=0.0, dry=dry), before=prompt_tokens, said=said, times=1)

    assert drawn(Dry(multiplier=50.0)) != [desk.best]
    assert drawn(Dry(multiplier=50.0, penalty_last_n=5)) == [desk.best], "the window ends before the repetition"
    assert drawn(Dry(multiplier=50.0, allowed_length=3)) == [desk.best]
    assert drawn(Dry(multiplier=50.0, sequence_breakers=("quick", "brown"))) == [desk.best]
    assert drawn(Dry(multiplier=0.0)) == [desk.best]


def test_repeat_last_n_bounds_what_the_penalties_look_at(desk: Desk) -> None:
    said = [desk.best, *desk.model.tokenize(" quick brown fox", special=False)]
    penalised = Drawing(temperature=0.0, repeat_penalty=2.0)

    assert desk.drawn(replace(penalised, repeat_last_n=4), said=said, times=1) != [desk.best]
    assert desk.drawn(replace(penalised, repeat_last_n=3), said=said, times=1) == [desk.best]
    assert desk.drawn(replace(penalised, repeat_last_n=0), said=said, times=1) == [desk.best]


def llama_cpp_draws(desk: Desk, drawing: Drawing, *, said: Sequence[int], times: int) -> list[int]:
    """Draw as llama.cpp's own samplers do, over the whole vocabulary."""
    biases = [native.llama_logit_bias(token=token, bias=bias) for token, bias in drawing.logit_bias.items()]
    array = (native.llama_logit_bias * len(biases))(*biases)
    drawn = []
    for seed in range(times):
        chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        for sampler in (
            native.llama_sampler_init_logit_bias(desk.model.vocabulary, len(array), array),
            native.llama_sampler_init_penalties(
                desk.model.vocabulary,
                drawing.repeat_last_n,
                drawing.repeat_penalty,
                drawing.frequency_penalty,
                drawing.presence_penalty,
            ),
            native.llama_sampler_init_top_k(drawing.top_k),
            native.llama_sampler_init_top_p(drawing.top_p, 1),
            native.llama_sampler_init_min_p(drawing.min_p, 1),
            native.llama_sampler_init_temp(drawing.temperature),
            native.llama_sampler_init_dist(draw_seed(seed, len(said))),
        ):
            native.llama_sampler_chain_add(chain, sampler)
        for token in said:
            native.llama_sampler_accept(chain, token)
        drawn.append(native.llama_sampler_sample(chain, desk.context.handle, desk.row))
        native.llama_sampler_free(chain)
    return drawn


PENALISED = {"repeat_penalty": 1.4, "frequency_penalty": 0.3, "presence_penalty": 0.2, "repeat_last_n": 5}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        PENALISED,
        {**PENALISED, "repeat_last_n": 1},
        {"repeat_penalty": 0.5, "presence_penalty": -2.0},
        {"top_k": 3, "top_p": 1.0},
        {"top_k": 1000, "top_p": 1.0, "min_p": 0.0, "temperature": 2.0},
        {"top_k": 1000, "frequency_penalty": -1.5},
        {"top_k": 0, **PENALISED},
        {"temperature": 0.01, **PENALISED},
    ],
)
def test_tokens_are_drawn_as_llama_cpp_draws_them(desk: Desk, changed: dict[str, Any]) -> None:
    likeliest = [int(token) for token in np.argsort(-desk.logits)[:8]]
    said = [likeliest[2], likeliest[0], 5, likeliest[0], likeliest[1], likeliest[0], 49_000]
    drawing = replace(Drawing(logit_bias={likeliest[3]: 2.5, likeliest[0]: -1.0, 17: 100.0 if not changed else 9.0}))
    drawing = replace(drawing, **changed)
    before = desk.row_copy()

    assert desk.drawn(drawing, said=said) == llama_cpp_draws(desk, drawing, said=said, times=100)
    assert (desk.row_copy() == before).all(), "the logits are as the model computed them"


def test_logits_that_are_not_numbers_end_the_answer_only(desk: Desk) -> None:
    row = TokenSampler(desk.model, WIDE).row(desk.context.handle, desk.row)
    row[7] = np.nan
    try:
        for drawing in (WIDE, Drawing(), Drawing(temperature=0.0), Drawing(mirostat=Mirostat(mode=2))):
            with pytest.raises(Internal, match="not a number"):
                desk.drawn(drawing, times=1)
    finally:
        row[:] = desk.logits


@pytest.mark.parametrize("mode", [1, 2])
def test_mirostat_keeps_the_surprise_near_its_target(desk: Desk, mode: int) -> None:
    def surprise(tau: float) -> float:
        tokens = desk.row_of(replace(WIDE, mirostat=Mirostat(mode=mode, tau=tau)), times=150)[50:]
        return float(np.mean([-np.log2(desk.probability(token)) for token in tokens]))

    low, middle, high = surprise(0.0), surprise(3.0), surprise(5.0)

    assert low == pytest.approx(-np.log2(desk.probability(desk.best)))
    assert low < middle < high


def test_greedy_drawing_is_not_changed_by_what_only_narrows_the_choice(desk: Desk) -> None:
    for narrowed in ({"typical_p": 0.01}, {"xtc": Xtc(probability=1.0)}, {"mirostat": Mirostat(mode=2, tau=10.0)}):
        assert desk.drawn(replace(WIDE, temperature=0.0, **narrowed), times=2) == [desk.best] * 2


async def test_an_answer_without_its_end_goes_on_to_the_limit(backend: LlamaCppBackend) -> None:
    asked = prompt("Say hi.", max_tokens=60, sampling=GREEDY)
    ends = await answered(backend, asked)
    goes_on = await answered(backend, replace(asked, sampling=replace(GREEDY, ignore_eos=True)))

    assert end_of(ends).reason is FinishReason.STOP
    assert end_of(goes_on).reason is FinishReason.LENGTH
    assert end_of(goes_on).usage.completion_tokens == 60
    assert text_of(goes_on).startswith(text_of(ends))


async def test_an_answer_of_a_given_form_must_be_able_to_end(backend: LlamaCppBackend) -> None:
    form = Grammar(gbnf='root ::= "yes"')

    with pytest.raises(InvalidArgument) as caught:
        await answered(backend, prompt("Go.", response_format=form, sampling=Sampling(ignore_eos=True)))

    assert caught.value.field == "sampling.ignore_eos"


CONTINUED = {
    "typical": Sampling(typical_p=0.7),
    "penalties": Sampling(repeat_penalty=1.3, repeat_last_n=7),
    "dry": Sampling(dry=Dry(multiplier=2.0, allowed_length=1, penalty_last_n=256)),
    "sigma": Sampling(top_n_sigma=1.5, top_k=0),
    "xtc": Sampling(xtc=Xtc(probability=0.6, threshold=0.05)),
    "mirostat 1": Sampling(mirostat=Mirostat(mode=1, eta=0.4)),
    "mirostat 2": Sampling(mirostat=Mirostat(mode=2, eta=0.4)),
    "mirostat, penalised": Sampling(mirostat=Mirostat(mode=2, eta=0.4), repeat_penalty=1.2),
    "ignore_eos": Sampling(ignore_eos=True),
}


@pytest.mark.parametrize("sampling", CONTINUED.values(), ids=CONTINUED)
@pytest.mark.parametrize("said", [1, 9])
async def test_a_continuation_draws_what_would_have_been_drawn(
    backend: LlamaCppBackend, sampling: Sampling, said: int
) -> None:
    sampling = replace(sampling, temperature=0.8, seed=7)
    asked = prompt(COUNT, max_tokens=20, sampling=sampling, logprobs=0, cache_scope="continued")
    whole = await answered(backend, asked)
    emitted = tuple(ids_of(whole)[:said])
    rest = await answered(backend, replace(asked, emitted_token_ids=emitted))

    assert [*emitted, *ids_of(rest)] == ids_of(whole)
    assert text_of(whole).endswith(text_of(rest))
    assert end_of(rest).usage.completion_tokens == end_of(whole).usage.completion_tokens


async def test_a_continued_mirostat_answer_remembers_what_surprised_it(backend: LlamaCppBackend) -> None:
    sampling = Sampling(temperature=1.5, seed=3, mirostat=Mirostat(mode=2, tau=8.0, eta=1.0))
    asked = prompt(COUNT, max_tokens=24, sampling=sampling, cache_scope="surprised")
    whole = ids_of(await answered(backend, asked))
    forgetful = replace(sampling, mirostat=Mirostat(mode=2, tau=8.0, eta=0.0))
    without = ids_of(await answered(backend, replace(asked, sampling=forgetful)))
    rest = ids_of(await answered(backend, replace(asked, emitted_token_ids=tuple(whole[:12]))))

    assert without != whole, "what was learnt matters here"
    assert whole[12:] == rest


async def test_a_continuation_of_a_mirostat_answer_follows_its_grammar(backend: LlamaCppBackend) -> None:
    form = Grammar(gbnf='root ::= [a-z]{3} ("," [a-z]{3}){4}')
    sampling = Sampling(temperature=0.8, seed=7, mirostat=Mirostat(mode=1))
    asked = prompt("Go.", response_format=form, sampling=sampling, cache_scope="formal")
    whole = await answered(backend, asked)
    rest = await answered(backend, replace(asked, emitted_token_ids=tuple(ids_of(whole)[:3])))

    assert len(text_of(whole)) == 19
    assert [*ids_of(whole)[:3], *ids_of(rest)] == ids_of(whole)


async def test_an_answer_that_was_complete_only_tells_its_end(backend: LlamaCppBackend) -> None:
    sampling = Sampling(mirostat=Mirostat(mode=2))
    events = await answered(backend, prompt(COUNT, max_tokens=2, sampling=sampling, emitted_token_ids=(5, 6)))

    assert ids_of(events) == []
    assert end_of(events).reason is FinishReason.LENGTH
    assert end_of(events).usage.completion_tokens == 2
