"""Which form of weights is measured, and which is chosen."""

import pytest

from inference_svc.domain.weights import Cost, Form, Size, alternative, choose

QUANTISED = Size(weights=134_515_008, bytes=96_570_000)
PLENTY = 2**40


def cost(reading_64: float, *drawing: float) -> Cost:
    """Milliseconds of reading 64 tokens, and of drawing in steps of one, four and eight, as a benchmark prints them."""
    steps = zip((1, 4, 8), drawing, strict=True)
    return Cost(reading=reading_64 / 64e3, drawing={size: spent / size / 1e3 for size, spent in steps})


@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        pytest.param(cost(346, 10.6, 32.2, 56.4), Form.BF16, id="Q4_1, which has no fast kernel"),
        pytest.param(cost(114, 5.5, 19.7, 30.4), Form.FILE, id="Q4_0, which has one"),
        pytest.param(cost(117, 13.4, 30.5, 37.0), Form.FILE, id="equally fast"),
        pytest.param(cost(122, 14.3, 32.5, 39.0), Form.FILE, id="saves less than a tenth"),
        pytest.param(cost(115, 17.5, 40.0, 48.0), Form.BF16, id="draws faster"),
    ],
)
def test_a_copy_is_chosen_where_a_typical_request_costs_a_tenth_less(file: Cost, chosen: Form) -> None:
    assert choose({Form.FILE: file, Form.BF16: cost(115, 13.3, 30.3, 36.9)}) is chosen


def test_the_cheapest_of_several_forms_is_chosen() -> None:
    costs = {Form.FILE: cost(346, 11, 33, 57), Form.BF16: cost(180, 14, 31, 46), Form.F16: cost(115, 13, 30, 37)}

    assert choose(costs) is Form.F16


def test_a_typical_request_reads_two_hundred_tokens_and_draws_fifty() -> None:
    assert Cost(reading=0.001, drawing={1: 0.009, 4: 0.006, 8: 0.003}).typical == pytest.approx(0.2 + 50 * 0.006)


def test_quantised_weights_are_measured_in_the_form_that_the_processor_multiplies() -> None:
    assert alternative(QUANTISED, in_memory=True, budget=PLENTY, fast_bf16=True) is Form.BF16
    assert alternative(QUANTISED, in_memory=True, budget=PLENTY, fast_bf16=False) is Form.F16


@pytest.mark.parametrize(
    ("size", "in_memory", "budget"),
    [
        pytest.param(QUANTISED, False, PLENTY, id="on a GPU"),
        pytest.param(QUANTISED, True, QUANTISED.dequantised_bytes - 1, id="too large"),
        pytest.param(Size(weights=1_000, bytes=2_010), True, PLENTY, id="16 bits already"),
        pytest.param(Size(weights=0, bytes=0), True, PLENTY, id="none at all"),
    ],
)
def test_other_weights_stay_as_they_are_without_being_measured(size: Size, in_memory: bool, budget: int) -> None:
    assert alternative(size, in_memory=in_memory, budget=budget, fast_bf16=True) is Form.FILE
