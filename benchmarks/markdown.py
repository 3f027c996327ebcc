"""What a run found, for people."""

import math
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.contestants.contestant import MESH
from benchmarks.report import Report
from benchmarks.result import Result, Row, Target

_NONE = "-"
_HOW = (
    "One contestant works at a time: the processes of the others are stopped (SIGSTOP), so that their idle threads "
    "cost nothing. Contestants take turns round by round, each round begins with another one, and each is woken by one "
    "request that is not measured. All get the same prompts, which are new in every round, from one client process "
    "that reads into the answers only after all have arrived. Figures are medians (p50) or p95 over all rounds; "
    "smallest and largest sample in brackets."
)


def to_markdown(report: Report) -> str:
    """Write a report with the targets first."""
    lines = [f"# Benchmarks, {report.began}", "", *_head(report), *_targets(report.results)]
    lines += ["## How it was measured", "", _HOW, ""]
    for title, facts in (("machine", report.machine), ("software", report.software)):
        lines += [*_table((title, ""), facts.items()), ""]
    lines += [*_table(("contestant", "settings"), report.contestants.items()), ""]
    for result in report.results:
        lines += _result(result)
    return "\n".join(lines).rstrip("\n") + "\n"


def _head(report: Report) -> Iterator[str]:
    targets = [target for result in report.results for target in result.targets]
    failures = sum(bool(result.failure) for result in report.results)
    reached = sum(target.reached for target in targets)
    rounds = f"{report.rounds} round{'s' if report.rounds > 1 else ''}"
    yield f"{reached} of {len(targets)} targets reached, in {rounds}{', each cut short (--quick)' * report.quick}."
    if failures:
        yield ""
        yield f"{failures} scenarios could not be measured; their targets are not counted."
    if spoilt := [result.name for result in report.results if result.noise and result.noise.spoils]:
        yield ""
        yield f"**The machine was not quiet, so these figures say little:** {', '.join(spoilt)}. Measure them again."
    if not report.finished:
        yield ""
        yield "The run is not finished."
    yield ""


def _targets(results: Sequence[Result]) -> Iterator[str]:
    rows = [
        (result.name, target.claim, _found(target), _verdict(target) + _doubt(result))
        for result in results
        for target in result.targets
    ]
    rows += [(result.name, "not measured", _NONE, "**missed**") for result in results if result.failure]
    yield "## Targets"
    yield ""
    yield from _table(("scenario", "target", "found", ""), rows)
    yield ""


def _doubt(result: Result) -> str:
    return " (not quiet)" if result.noise and result.noise.spoils else ""


def _found(target: Target) -> str:
    return _NONE if math.isnan(target.found) else f"{_number(target.found)} {target.unit}"


def _verdict(target: Target) -> str:
    return "reached" if target.reached else "**missed**"


def _result(result: Result) -> Iterator[str]:
    yield f"## {result.name}"
    yield ""
    yield result.question
    yield ""
    if result.failure:
        yield f"It could not be measured: {result.failure}"
        yield ""
        return
    contestants = list(dict.fromkeys(name for row in result.rows for name in row.samples))
    first = MESH if MESH in contestants else contestants[0]
    others = [name for name in contestants if name != first]
    head = ("condition", "measure", *contestants, *(f"{first} / {other}" for other in others))
    yield from _table(head, (_cells(row, contestants, first, others) for row in result.rows))
    yield ""
    for note in (*result.notes, *_noise(result)):
        yield f"- {note}"
    yield ""


def _noise(result: Result) -> Iterator[str]:
    if result.noise:
        yield (
            f"Meanwhile {result.noise.others:.1f} % of the machine's CPU time went to processes that have no part in "
            f"this, and {result.noise.stolen:.1f} % to other machines of the host (steal)."
        )


def _cells(row: Row, contestants: Sequence[str], first: str, others: Sequence[str]) -> list[str]:
    statistic = "p50" if row.percent == 50 else f"p{row.percent:g}"
    measure = f"{row.measure}, {statistic} ({row.unit})"
    ratios = (row.ratio(first, other) for other in others)
    return [
        row.condition,
        measure,
        *(_figure(row, contestant) for contestant in contestants),
        *(_NONE if math.isnan(each) else f"{each:.2f}" for each in ratios),
    ]


def _figure(row: Row, contestant: str) -> str:
    samples = row.samples.get(contestant, ())
    if not samples:
        return _NONE
    spread = f" ({_number(min(samples))} - {_number(max(samples))})" if len(samples) > 1 else ""
    return f"{_number(row.figure(contestant))}{spread}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(head)
    yield _line(["---"] * len(head))
    yield from map(_line, rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
