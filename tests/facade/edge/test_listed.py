"""Which entries of a thread are listed as what a response was asked."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from facade.domain.events import Run, RunState
from facade.domain.records import Said
from facade.edge.responses.entries import Entries
from facade.edge.responses.listed import input_items
from threadmesh.conversation import Role, message

NOBODY: Any = None
"""Nothing is asked about messages without calls."""
RUN = Run(id="run_1", thread_id="t", state=RunState.QUEUED, create_time=datetime(2026, 1, 1, tzinfo=UTC))
BEGUN = replace(RUN, state=RunState.RUNNING, epoch=1, first_input=2, first_answer=4)


def said(sequence: int, run_id: str, text: str, place: int | None = None) -> Said:
    return Said(id=f"item_{text}", sequence=sequence, run_id=run_id, message=message(Role.USER, text), place=place)


BEFORE = [said(0, "run_0", "one", 0), said(1, "run_0", "answer")]
ANSWER = said(4, "run_1", "mine")


async def names(run: Run, *entries: Said) -> list[str]:
    shown = Entries(NOBODY, NOBODY, NOBODY)
    return [item["id"] for item in await input_items(run, [*BEFORE, *entries], shown)]


@pytest.mark.parametrize(
    ("run", "first"), [(BEGUN, 2), (RUN, 2), (RUN, 0)], ids=["begun", "begun since it was read", "waiting"]
)
async def test_input_is_listed_behind_all_that_was_said_before_and_no_answer(run: Run, first: int) -> None:
    own = [said(first + place, "run_1", f"two{place}", place) for place in range(2)]
    entries = [*own, ANSWER] if first else own

    assert await names(run, *entries) == ["msg_0_i0", "msg_0_1", "msg_1_i0", "msg_1_i1"]


async def test_where_input_was_deleted_no_answer_takes_its_place() -> None:
    assert await names(BEGUN, said(3, "run_1", "two", 1), ANSWER) == ["msg_0_i0", "msg_0_1", "msg_1_i1"]
    assert await names(BEGUN, ANSWER) == ["msg_0_i0", "msg_0_1"]


async def test_input_that_an_earlier_version_has_stored_is_known_by_its_number() -> None:
    assert await names(BEGUN, said(2, "run_1", "two"), said(3, "run_1", "three"), ANSWER) == [
        "msg_0_i0", "msg_0_1", "msg_1_2", "msg_1_3",
    ]  # fmt: skip
