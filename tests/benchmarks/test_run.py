from pathlib import Path

import pytest

import benchmarks
from benchmarks.failures import BenchmarkError
from benchmarks.registry import SCENARIOS
from benchmarks.run import chosen
from benchmarks.stage import STARTS, rotated

README = Path(str(benchmarks.__file__)).with_name("README.md")


def test_without_names_every_scenario_runs_and_names_keep_the_order() -> None:
    assert [scenario.name for scenario in chosen([], SCENARIOS)] == list(SCENARIOS)
    assert [scenario.name for scenario in chosen(["cancel", "throughput"], SCENARIOS)] == ["throughput", "cancel"]


def test_a_name_that_means_nothing_is_refused_with_those_there_are() -> None:
    with pytest.raises(BenchmarkError, match=r"no scenario troughput; there are throughput, "):
        chosen(["troughput"], SCENARIOS)


def test_every_round_begins_with_another_contestant() -> None:
    assert [rotated(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_scenarios_name_contestants_that_can_be_started() -> None:
    assert {name for scenario in SCENARIOS.values() for name in scenario.contestants} == set(STARTS)


def test_the_readme_names_every_scenario() -> None:
    text = README.read_text("utf-8")

    assert [name for name in SCENARIOS if f"| `{name}` |" not in text] == []
