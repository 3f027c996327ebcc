import math

import pytest

from benchmarks.result import FIRST_TOKEN, TOKENS_PER_SECOND, Sheet, Target, compared


def sheet() -> Sheet:
    noted = Sheet()
    noted.add("mesh", "8 clients", TOKENS_PER_SECOND, 30)
    noted.add("peer", "8 clients", TOKENS_PER_SECOND, 20)
    noted.add("mesh", "8 clients", FIRST_TOKEN, [100, 300])
    noted.add("mesh", "8 clients", TOKENS_PER_SECOND, 50)
    return noted


def test_a_sheet_gives_a_row_for_each_percentile_in_the_order_of_the_first_samples() -> None:
    rows = [(row.measure, row.percent, row.figure("mesh")) for row in sheet().rows()]

    assert rows == [
        ("tokens per second", 50, 40),
        ("time to first token", 50, 200),
        ("time to first token", 95, pytest.approx(290)),
    ]


def test_figures_are_compared_by_their_medians() -> None:
    assert sheet().row("8 clients", TOKENS_PER_SECOND).ratio("mesh", "peer") == 2


def test_what_was_not_measured_is_no_number() -> None:
    assert math.isnan(sheet().row("8 clients", FIRST_TOKEN).ratio("mesh", "peer"))
    assert math.isnan(sheet().typical("mesh", "1 client", FIRST_TOKEN))


def test_a_target_says_which_figures_it_compares_and_is_reached_at_its_limit() -> None:
    row = sheet().row("8 clients", TOKENS_PER_SECOND)
    at_limit = compared(row, 2.0, at_least=True, of="mesh", to="peer")
    above = compared(row, 2.1, at_least=True, of="mesh", to="peer")

    assert at_limit.claim == "8 clients: tokens per second (median) of mesh at least 2 x peer"
    assert (at_limit.reached, above.reached) == (True, False)


@pytest.mark.parametrize("at_least", [True, False])
def test_a_target_without_a_figure_is_missed(at_least: bool) -> None:
    assert not Target(claim="", found=math.nan, limit=1, at_least=at_least).reached


def test_a_target_with_an_upper_limit_is_missed_above_it() -> None:
    assert Target(claim="", found=0.3, limit=0.3, at_least=False).reached
    assert not Target(claim="", found=0.31, limit=0.3, at_least=False).reached
