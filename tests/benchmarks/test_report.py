import json
import math
from dataclasses import replace

from benchmarks.markdown import to_markdown
from benchmarks.report import Report, to_json
from benchmarks.result import FIRST_TOKEN, TOKENS_PER_SECOND, Noise, Result, Sheet, Target, compared


def measured() -> Result:
    sheet = Sheet()
    sheet.add("mesh", "8 clients", TOKENS_PER_SECOND, [90, 100, 130])
    sheet.add("llama-server", "8 clients", TOKENS_PER_SECOND, [40, 50, 60])
    sheet.add("mesh", "8 clients", FIRST_TOKEN, [12.3456])
    row = sheet.row("8 clients", TOKENS_PER_SECOND)
    targets = (
        compared(row, 1.0, at_least=True, of="mesh", to="llama-server"),
        compared(row, 2.5, at_least=True, of="mesh", to="llama-server"),
        Target(claim="never measured", found=math.nan, limit=1, at_least=False),
    )
    return Result(name="throughput", question="How fast?", rows=sheet.rows(), targets=targets, notes=("quiet",))


def report(*results: Result, finished: bool = True) -> Report:
    return Report(
        began="2026-01-02 03:04",
        rounds=3,
        quick=False,
        finished=finished,
        machine={"CPU": "one"},
        software={"features": "AVX = 1 | FMA = 1"},
        contestants={"mesh": "defaults"},
        results=results,
    )


def test_the_report_says_plainly_which_targets_are_reached_and_which_are_missed() -> None:
    lines = to_markdown(report(measured())).splitlines()

    assert "1 of 3 targets reached, in 3 rounds." in lines
    claim = "8 clients: tokens per second (median) of mesh at least"
    assert f"| throughput | {claim} 1 x llama-server | 2 x | reached |" in lines
    assert f"| throughput | {claim} 2.5 x llama-server | 2 x | **missed** |" in lines
    assert "| throughput | never measured | - | **missed** |" in lines


def test_a_row_shows_medians_spreads_and_ratios() -> None:
    text = to_markdown(report(measured()))

    assert "| condition | measure | mesh | llama-server | mesh / llama-server |" in text
    assert "| 8 clients | tokens per second, p50 (tok/s) | 100 (90 - 130) | 50 (40 - 60) | 2.00 |" in text
    assert "| 8 clients | time to first token, p95 (ms) | 12.3 | - | - |" in text
    assert "- quiet" in text


def test_facts_with_bars_in_them_stay_in_their_cell() -> None:
    assert "| features | AVX = 1 \\| FMA = 1 |" in to_markdown(report())


def test_a_scenario_that_failed_counts_as_missed_and_says_why() -> None:
    text = to_markdown(report(Result(name="cancel", question="How soon?", failure="the mesh was gone")))

    assert "| cancel | not measured | - | **missed** |" in text
    assert "It could not be measured: the mesh was gone" in text


def test_figures_of_a_machine_that_was_not_quiet_are_marked() -> None:
    quiet = to_markdown(report(replace(measured(), noise=Noise(others=1, stolen=0.5))))
    spoilt = to_markdown(report(replace(measured(), noise=Noise(others=45, stolen=0.5))))

    assert "not quiet" not in quiet
    assert "| 2 x | reached (not quiet) |" in spoilt
    assert "so these figures say little:** throughput." in spoilt
    assert "- Meanwhile 45.0 % of the machine's CPU time" in spoilt


def test_an_unfinished_run_says_so() -> None:
    assert "The run is not finished." in to_markdown(report(finished=False))
    assert "The run is not finished." not in to_markdown(report())


def test_the_json_holds_every_sample_and_null_where_nothing_was_measured() -> None:
    [result] = json.loads(to_json(report(measured())))["results"]

    assert result["rows"][0]["samples"] == {"mesh": [90, 100, 130], "llama-server": [40, 50, 60]}
    assert result["rows"][0]["figures"] == {"mesh": 100, "llama-server": 50}
    assert [(target["found"], target["reached"]) for target in result["targets"]] == [
        (2, True),
        (2, False),
        (None, False),
    ]
