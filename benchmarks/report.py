"""What a run found, as data."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.result import Result, Row, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run: when it began, how it was asked for, where it ran, who took part and how, and what came out.

    `finished` is false while scenarios are still to come.
    """

    began: str
    rounds: int
    quick: bool
    finished: bool
    machine: Mapping[str, str]
    software: Mapping[str, str]
    contestants: Mapping[str, str]
    results: tuple[Result, ...]


def to_json(report: Report) -> str:
    """Write a report as JSON, all samples in it; what was not measured is null."""
    data = {**asdict(report), "results": [_result(result) for result in report.results]}
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def _result(result: Result) -> dict[str, Any]:
    return {
        **asdict(result),
        "rows": [_row(row) for row in result.rows],
        "targets": [_target(target) for target in result.targets],
    }


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "figures": {contestant: row.figure(contestant) for contestant in row.samples}}


def _target(target: Target) -> dict[str, Any]:
    return {**asdict(target), "reached": target.reached}


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value
