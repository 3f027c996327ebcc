"""Processes die at every place where it matters, and nothing is lost, doubled or left without an end."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.history import check
from tests.chaos.reader import Reader
from tests.chaos.stores import store
from tests.chaos.units import Units, mesh_of_units, supervised

TAKEOVER_SECONDS = 10.0

COUNT = "count for me"
COUNTED = "one two three four five six seven eight nine ten eleven twelve"


@dataclass(frozen=True, slots=True)
class Case:
    """A process that breaks at a point while it answers."""

    unit: str
    crash: str
    ask: str

    def __str__(self) -> str:
        return f"{self.unit}-{self.crash}-{self.ask.split(' NAME')[0]}"


TEXT = ("count for me", "think about it")
ACTS = ("act NAME", "act twice NAME")
CASES = [
    *(
        Case("facade", crash, ask)
        for crash in (
            "facade.after_start",
            "facade.before_flush",
            "facade.after_flush:2",
            "run.after_claim",
            "run.before_append",
            "run.after_append",
            "run.after_append:3",
            "run.before_terminal",
            "run.after_terminal",
        )
        for ask in TEXT
    ),
    *(
        Case("facade", crash, ask)
        for crash in (
            "run.after_intent",
            "run.before_send",
            "run.after_send",
            "run.before_result_commit",
            "run.after_result_commit",
            "run.before_terminal",
            "run.after_append:4",
        )
        for ask in ACTS
    ),
    *(
        Case("inference", crash, ask)
        for crash in ("infer.after_admit", "infer.after_token", "infer.after_token:5", "infer.before_final")
        for ask in (*TEXT, "act twice NAME")
    ),
    *(Case("tools", crash, ask) for crash in ("tools.before_write", "tools.after_read") for ask in ACTS),
    *(
        Case("context", crash, ask)
        for crash in ("ctx.before_commit:7", "ctx.after_commit:7", "ctx.before_commit:8", "ctx.after_commit:8")
        for ask in (COUNT, "act NAME")
    ),
]
SENT = ("run.after_send", "run.before_result_commit", "run.after_result_commit", "run.before_terminal")
"""Points of the facade at which the calls have reached the tools service."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=os.environ.get("CHAOS_STORES", "sqlite").split(","))
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Units]:
    with store(request.param) as place, mesh_of_units(tmp_path_factory.mktemp("chaos"), store=place) as started:
        started.tools_are_ready()
        yield started


EVERY_DAY = {
    "facade": (TEXT[0], ACTS[1]),
    "inference": (TEXT[0], ACTS[1]),
    "tools": (ACTS[1],),
    "context": (COUNT, ACTS[0]),
}
"""Of each point where a unit dies, a text or some calls are enough for every day, or one of each."""


BESIDE_ANOTHER = {
    "facade.before_flush",
    "run.before_append",
    "run.after_append",
    "run.after_append:4",
    "run.before_send",
    "run.after_terminal",
}
"""Points that lie right beside one that is looked at every day."""


def _marked(case: Case) -> Any:
    seldom = case.ask not in EVERY_DAY[case.unit] or case.crash in BESIDE_ANOTHER
    return pytest.param(case, marks=pytest.mark.thorough if seldom else (), id=str(case))


@pytest.mark.parametrize("case", list(map(_marked, CASES)))
def test_a_process_dies_and_the_answer_comes_to_its_end(units: Units, case: Case) -> None:
    victim = units[case.unit]
    name = f"{Path(case.crash).name}-{next(_numbers)}".replace(":", "-").replace(".", "-")
    victim.start(case.crash)
    if case.unit in ("tools", "facade"):
        units.tools_are_ready()

    reader = Reader(
        urls=[units.url("facade"), units.url("other")],
        body={
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": case.ask.replace("NAME", name)}],
            "metadata": {"tools": "all", "thread_key": f"chaos:{name}"},
        },
        key=name,
    )
    with supervised(victim, restart=case.unit != "facade") as deaths:
        reader.read()

    assert deaths, "the point was reached"
    check(units, reader)
    assert reader.gap <= TAKEOVER_SECONDS
    if case.ask == COUNT:
        assert reader.text == COUNTED
    if case.unit == "facade" and case.crash in SENT:
        assert "unknown" not in reader.text.lower(), "whoever takes the run over hears how its calls ended"
