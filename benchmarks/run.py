"""Runs scenarios one after the other and keeps the report up to date."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contestants.contestant import LLAMA_SERVER, Contestant
from benchmarks.failures import BenchmarkError
from benchmarks.machine import machine, software
from benchmarks.markdown import to_markdown
from benchmarks.noise import Reading
from benchmarks.peers.llama_cpp import llama_cpp
from benchmarks.processes import busy_threads
from benchmarks.registry import Scenario
from benchmarks.report import Report, to_json
from benchmarks.result import Result
from benchmarks.scenarios import engine
from benchmarks.stage import STARTS, Stage, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line said."""

    scenarios: tuple[Scenario, ...]
    rounds: int
    quick: bool
    output: Path


async def run(wishes: Wishes) -> Path:
    """Run the scenarios and give the Markdown report; it is written again after each. Raises `BenchmarkError`."""
    report = _begun(wishes)
    path = wishes.output / f"{report.began.replace(':', '').replace(' ', '-')}{'-quick' * wishes.quick}.md"
    needed = {name for scenario in wishes.scenarios for name in scenario.contestants}
    with running([name for name in STARTS if name in needed]) as contestants:
        stage = Stage(contestants=contestants, rounds=wishes.rounds, quick=wishes.quick)
        for scenario in wishes.scenarios:
            _say(f"{scenario.name}: {scenario.question}")
            result = await _result(scenario, stage)
            report = replace(report, results=(*report.results, result), contestants=_described(contestants))
            _write(report, path)
    _write(replace(report, finished=True), path)
    return path


def _begun(wishes: Wishes) -> Report:
    compiled = any(LLAMA_SERVER in each.contestants or each.name == engine.NAME for each in wishes.scenarios)
    peers = llama_cpp() if compiled else None
    return Report(
        began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        rounds=wishes.rounds,
        quick=wishes.quick,
        finished=False,
        machine=machine(),
        software=software(peers),
        contestants={},
        results=(),
    )


async def _result(scenario: Scenario, stage: Stage) -> Result:
    roots = [contestant.root for contestant in stage.contestants.values()]
    before = Reading.take(roots)
    try:
        result = await scenario.run(stage)
    except BenchmarkError as error:
        _say(f"{scenario.name} could not be measured: {error}")
        return Result(name=scenario.name, question=scenario.question, failure=str(error))
    for target in result.targets:
        _say(f"  {'reached' if target.reached else 'missed '}  {target.claim}: {target.found:.3g} {target.unit}")
    return replace(result, noise=before.until(Reading.take(roots)))


def _described(contestants: Mapping[str, Contestant]) -> dict[str, str]:
    threads = {name: busy_threads(contestant.engine) for name, contestant in contestants.items()}
    return {
        name: f"{contestant.settings}; threads of the computing process that were busy: {threads[name]}"
        for name, contestant in contestants.items()
    }


def _write(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_markdown(report), "utf-8")
    path.with_suffix(".json").write_text(to_json(report), "utf-8")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def chosen(names: Sequence[str], scenarios: Mapping[str, Scenario]) -> tuple[Scenario, ...]:
    """Give the scenarios of these names, all without any. Raises `BenchmarkError` for a name that means nothing."""
    unknown = [name for name in names if name not in scenarios]
    if unknown:
        raise BenchmarkError(f"there is no scenario {', '.join(unknown)}; there are {', '.join(scenarios)}")
    return tuple(scenario for scenario in scenarios.values() if not names or scenario.name in names)
