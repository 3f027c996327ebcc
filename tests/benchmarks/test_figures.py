import math

import pytest

from benchmarks.figures import percentile, ratio


def test_the_median_lies_in_the_middle_of_an_even_number_of_samples() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5


def test_a_percentile_between_two_samples_is_interpolated() -> None:
    assert percentile(range(1, 101), 95) == pytest.approx(95.05)
    assert percentile([10, 20], 95) == pytest.approx(19.5)


def test_the_outermost_percentiles_are_samples() -> None:
    assert (percentile([3, 1, 2], 0), percentile([3, 1, 2], 100)) == (1, 3)


def test_nothing_is_made_of_no_samples_or_of_a_division_by_nothing() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(ratio(1, 0))
    assert math.isnan(ratio(1, math.nan))


def test_a_ratio_is_in_units_of_the_second_value() -> None:
    assert ratio(3, 2) == 1.5
