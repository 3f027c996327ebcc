"""The stream of a run's log always has an end, whatever keeps the log from being read."""

import json
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import pytest

from facade.domain.events import Run, RunEvent, RunState
from facade.edge.runs.log import blocks
from threadmesh.conversation import TextDelta
from threadmesh.errors import Unavailable

RUN = Run(id="run_1", thread_id="thread_1", state=RunState.RUNNING, create_time=datetime.now(UTC))


async def log(broken: Exception | None) -> AsyncGenerator[Sequence[RunEvent], None]:
    yield [RunEvent(sequence=0, body=TextDelta(text="So far"))]
    if broken is not None:
        raise broken


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (Unavailable(peer="context"), "unavailable"),
        (ValueError("a defect"), "internal_error"),
        (None, "internal_error"),
    ],
)
async def test_a_log_that_cannot_be_read_to_its_end_ends_with_an_error(broken: Exception | None, code: str) -> None:
    first, last = [block.decode().split("\n")[:-2] async for block in blocks(RUN, log(broken))]

    assert first[:2] == ["id: run_1:0", "event: text"]
    assert last[0] == "event: error"
    told = json.loads(last[1].removeprefix("data: "))["error"]
    assert told["code"] == code
    assert "a defect" not in told["message"]
