"""How tokens are drawn."""

import math

import pytest

from inference_svc.domain.sampling import Drawing, draw_seed, resolve
from threadmesh.errors import InvalidArgument
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

DEFAULTS = Drawing(temperature=0.5, top_k=7)


def test_what_a_request_leaves_open_follows_the_model() -> None:
    drawing = resolve(Sampling(temperature=0.0, seed=-3), defaults=DEFAULTS, choose_seed=lambda: 99)

    assert (drawing.temperature, drawing.top_k, drawing.seed) == (0.0, 7, -3)
    assert drawing.greedy


def test_a_seed_is_chosen_where_none_is_given() -> None:
    assert resolve(Sampling(), defaults=DEFAULTS, choose_seed=lambda: 99).seed == 99


def test_what_a_request_says_holds() -> None:
    dry, mirostat, xtc = Dry(multiplier=0.8), Mirostat(mode=2), Xtc(probability=0.5)
    wishes = Sampling(typical_p=0.9, repeat_last_n=7, dry=dry, mirostat=mirostat, ignore_eos=True, xtc=xtc)
    drawing = resolve(wishes, defaults=DEFAULTS, choose_seed=lambda: 0)

    assert (drawing.typical_p, drawing.repeat_last_n, drawing.ignore_eos) == (0.9, 7, True)
    assert (drawing.dry, drawing.mirostat, drawing.xtc) == (dry, mirostat, xtc)


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        (Sampling(temperature=math.nan), "sampling.temperature"),
        (Sampling(temperature=2.1), "sampling.temperature"),
        (Sampling(top_p=-0.1), "sampling.top_p"),
        (Sampling(top_k=-1), "sampling.top_k"),
        (Sampling(min_p=math.inf), "sampling.min_p"),
        (Sampling(repeat_penalty=0.0), "sampling.repeat_penalty"),
        (Sampling(logit_bias={5: 101}), "sampling.logit_bias[5]"),
        (Sampling(typical_p=1.5), "sampling.typical_p"),
        (Sampling(repeat_last_n=-1), "sampling.repeat_last_n"),
        (Sampling(repeat_last_n=8_193), "sampling.repeat_last_n"),
        (Sampling(top_n_sigma=math.nan), "sampling.top_n_sigma"),
        (Sampling(dry=Dry(multiplier=math.nan)), "sampling.dry.multiplier"),
        (Sampling(dry=Dry(multiplier=1.0, base=0.5)), "sampling.dry.base"),
        (Sampling(dry=Dry(multiplier=1.0, allowed_length=-1)), "sampling.dry.allowed_length"),
        (Sampling(dry=Dry(multiplier=1.0, penalty_last_n=-1)), "sampling.dry.penalty_last_n"),
        (Sampling(dry=Dry(multiplier=1.0, sequence_breakers=("",))), "sampling.dry.sequence_breakers"),
        (Sampling(dry=Dry(multiplier=1.0, sequence_breakers=("é" * 21,))), "sampling.dry.sequence_breakers"),
        (Sampling(dry=Dry(multiplier=1.0, sequence_breakers=("a\0b",))), "sampling.dry.sequence_breakers"),
        (Sampling(dry=Dry(multiplier=1.0, sequence_breakers=("a",) * 9)), "sampling.dry.sequence_breakers"),
        (Sampling(mirostat=Mirostat(mode=3)), "sampling.mirostat.mode"),
        (Sampling(mirostat=Mirostat(mode=2, tau=math.inf)), "sampling.mirostat.tau"),
        (Sampling(mirostat=Mirostat(mode=2, eta=-0.1)), "sampling.mirostat.eta"),
        (Sampling(xtc=Xtc(probability=1.1)), "sampling.xtc.probability"),
        (Sampling(xtc=Xtc(probability=0.5, threshold=-0.1)), "sampling.xtc.threshold"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(wishes: Sampling, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolve(wishes, defaults=DEFAULTS, choose_seed=lambda: 0)

    assert caught.value.field == field


def test_chance_depends_on_seed_and_position_alone() -> None:
    drawn = {draw_seed(seed, position) for seed in (-1, 0, 1, 2**62) for position in range(500)}

    assert len(drawn) > 1_990, "different places draw different numbers"
    assert draw_seed(42, 7) == draw_seed(42, 7)
    assert all(0 <= each < 2**32 for each in drawn)


def test_the_seed_that_llama_cpp_takes_for_none_never_comes() -> None:
    undone = _unmixed(0xFFFFFFFF << 32)

    assert draw_seed(undone - 0x9E3779B97F4A7C15, 0) == 0


def _unmixed(mixed: int) -> int:
    """Turn SplitMix64's mixing around."""
    mask = 2**64 - 1
    value = mixed ^ (mixed >> 31) ^ (mixed >> 62)
    value = value * pow(0x94D049BB133111EB, -1, 2**64) & mask
    value = value ^ (value >> 27) ^ (value >> 54)
    value = value * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    return value ^ (value >> 30) ^ (value >> 60)
