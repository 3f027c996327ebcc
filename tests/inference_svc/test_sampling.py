"""How tokens are drawn."""

import math

import pytest

from inference_svc.domain.sampling import Drawing, draw_seed, resolve
from threadmesh.errors import InvalidArgument
from threadmesh.sampling import Sampling

DEFAULTS = Drawing(temperature=0.5, top_k=7)


def test_what_a_request_leaves_open_follows_the_model() -> None:
    drawing = resolve(Sampling(temperature=0.0, seed=-3), defaults=DEFAULTS, choose_seed=lambda: 99)

    assert (drawing.temperature, drawing.top_k, drawing.seed) == (0.0, 7, -3)
    assert drawing.greedy


def test_a_seed_is_chosen_where_none_is_given() -> None:
    assert resolve(Sampling(), defaults=DEFAULTS, choose_seed=lambda: 99).seed == 99


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
