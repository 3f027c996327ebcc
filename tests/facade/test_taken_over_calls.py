"""Who takes a run over decides about its calls as its writer would have, from what was written down."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from facade.domain.events import Body, ModelFinished, ModelStarted, RunEvent, RunFinished, RunState, ToolEvent
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.offer import ApprovalRule, Offer, Tool
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.ports import Model
from facade.domain.progress import progress_of
from facade.domain.records import Batch, CallRecord, CallState
from facade.domain.retries import Retries
from facade.domain.turn import Turn
from tests.facade.test_journal import RUN
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallFinished, CallOutcome, FinishReason, ToolCall, ToolCallDelta, ToolDefinition

CALL = ToolCall(id="c", name="shop__pay", arguments_json="{}")
PAY = Tool(
    definition=ToolDefinition(name="shop__pay"),
    server="shop",
    definition_hash="h",
    approval=ApprovalRule.AFTER_UNTRUSTED,
)
PARAMETERS = TurnParameters(server_tools=ServerTools(everything=True))


class Others:
    """The other units: what they are asked, and what is written; the model has answered already."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bool]] = []
        self.asked: list[str] = []

    async def model(self, name: str) -> Model:
        return Model(name="m", backend="b", context_tokens=1000, ready=True)

    async def count(self, texts: Sequence[str], *, model: str) -> list[int]:
        return [1 for _ in texts]

    async def offer(self, _: Collection[str] = ()) -> Offer:
        return Offer(tools=(PAY,))

    async def execute(
        self, calls: Sequence[ToolCall], *, trusted_context: bool, **_: Any
    ) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        for call in calls:
            self.sent.append((call.id, trusted_context))
            yield call.id, CallFinished(outcome=CallOutcome.SUCCEEDED)

    async def append(self, batch: Batch) -> bool:
        return False

    async def require_action(self, batch: Batch, asked: Sequence[CallRecord], *, seconds: float) -> None:
        self.asked += [record.call.id for record in asked]

    async def finish(self, batch: Batch, finished: RunFinished) -> None: ...


def log(started: ModelStarted) -> list[RunEvent]:
    """Give the log of an answer that asks for the call, up to where it was cut off."""
    delta = ToolCallDelta(index=0, id="c", name="shop__pay", arguments_json="{}")
    bodies: list[Body] = [started, delta, ModelFinished(reason=FinishReason.TOOL_CALLS)]
    return [RunEvent(sequence=number, body=body) for number, body in enumerate(bodies)]


@pytest.mark.parametrize(
    ("trusted", "begun", "sent", "asked"),
    [
        (True, False, [("c", True)], []),
        (False, False, [], ["c"]),
        (True, True, [("c", True)], []),
        (False, True, [("c", False)], []),
    ],
    ids=["before it was planned", "untrusted before it was planned", "after that", "untrusted after that"],
)
async def test_what_the_model_had_read_is_read_from_the_log(
    trusted: bool, begun: bool, sent: list[tuple[str, bool]], asked: list[str]
) -> None:
    """One that was planned by another rule goes out without the word, and tools_svc decides."""
    others = Others()
    stub = cast(Any, others)
    mesh = Mesh(inference=stub, tools=stub, context=stub, retries=Retries.by(SystemClock()))
    run = replace(RUN, epoch=2, parameters_json=PARAMETERS.to_json())
    records = [CallRecord(call=CALL, ordinal=0, state=CallState.INTENT)] if begun else []
    progress = progress_of(log(ModelStarted(model="m", backend="b", trusted_context=trusted)), records)
    turn = Turn(mesh, Journal(cast(Any, others), run), Limits(tool_rounds=0), progress)
    async with asyncio.timeout(10):
        state = await turn.run()

    assert (others.sent, others.asked) == (sent, asked)
    assert state is (RunState.REQUIRES_ACTION if asked else RunState.SUCCEEDED)
