"""What becomes of a run when the store does not take what is written, and takes the next."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from facade.domain.events import ModelEvent, ModelFinished, ModelStarted, Run, RunFinished, RunState, ToolEvent
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.offer import Offer
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.ports import Generation, Model
from facade.domain.progress import progress_of
from facade.domain.records import Batch, CallRecord, CallState, Window
from facade.domain.retries import Retries
from facade.domain.run_turn import Signals, run_turn
from facade.domain.turn import Turn
from tests.facade.test_journal import RUN
from tests.facade.test_taken_over_calls import CALL, PARAMETERS, log
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallFinished, CallOutcome, FinishReason, Role, TextDelta, ToolCall, message
from threadmesh.errors import Unavailable


class Others:
    """The other units; `order` tells what is durable, and when the model is asked."""

    def __init__(self, *, failing: int = 0, endless: bool = False, renewals: int = 0) -> None:
        """Let the write of a number fail, and an answer have no end, or one behind so many renewals that fail."""
        self._failing, self._endless, self._renewals = failing, endless, renewals
        self._writes = 0
        self._renewed = asyncio.Event()
        self.ending = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.spoken = asyncio.Event()
        self.order: list[str] = []
        self.numbers: list[int] = []
        self.finished: RunFinished | None = None

    async def model(self, name: str) -> Model:
        return Model(name="m", backend="b", context_tokens=1000, ready=True)

    async def count(self, texts: Sequence[str], *, model: str) -> list[int]:
        return [1 for _ in texts]

    async def offer(self, _: Collection[str] = ()) -> Offer:
        return Offer()

    async def window(self, *_: object, **__: object) -> Window:
        return Window(messages=[message(Role.USER, "Count.")], tokens=1, omitted_items=0)

    async def generate(self, _: Generation) -> AsyncGenerator[ModelEvent, None]:
        self.order.append("model")
        yield ModelStarted(model="m", backend="b")
        for word in ("one ", "two ", "three "):
            yield TextDelta(text=word)
            await asyncio.sleep(0)
        self.spoken.set()
        if self._endless:
            await asyncio.Event().wait()
        if self._renewals:
            await self._renewed.wait()
        yield ModelFinished(reason=FinishReason.STOP)

    async def execute(self, calls: Sequence[ToolCall], **_: Any) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        for call in calls:
            yield call.id, CallFinished(outcome=CallOutcome.SUCCEEDED)

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["Others"]:
        yield self

    async def append(self, batch: Batch) -> bool:
        self._writes += 1
        if self._writes == self._failing:
            if isinstance(batch.events[-1].body, TextDelta):
                await self.spoken.wait()  # other words are pending by then
            raise Unavailable(peer="context")
        self._keep(batch)
        return False

    async def renew(self, _: Run) -> bool:
        self._renewals -= 1
        if not self._renewals:
            self._renewed.set()
        raise Unavailable(peer="context")

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        self.ending.set()
        await self.may_end.wait()
        self._keep(batch)
        self.finished = finished

    def _keep(self, batch: Batch) -> None:
        self.numbers += range(batch.first_sequence, batch.first_sequence + len(batch.events))
        self.order += [event.body.text for event in batch.events if isinstance(event.body, TextDelta)]
        self.order += ["result" for record in batch.calls if record.state is CallState.FINISHED]


def mesh_of(others: Others) -> Mesh:
    stub = cast(Any, others)
    return Mesh(inference=stub, tools=stub, context=stub, retries=Retries.by(SystemClock()))


async def test_a_run_whose_words_could_not_be_written_fails_with_why_and_without_a_hole() -> None:
    others = Others(failing=2, endless=True)
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup) as caught:
            await run_turn(mesh_of(others), run, limits=Limits(), renew_seconds=60, signals=Signals())

    assert caught.group_contains(Unavailable)
    assert others.finished is not None
    assert others.finished.failure is not None
    assert (others.finished.state, others.finished.failure.reason) == (RunState.FAILED, "UNAVAILABLE")
    assert others.numbers == list(range(len(others.numbers)))
    assert others.order == ["model", "one ", "two ", "three "]


async def test_a_run_whose_lease_cannot_be_renewed_goes_on() -> None:
    others = Others(renewals=2)
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10):
        state = await run_turn(mesh_of(others), run, limits=Limits(), renew_seconds=0.01, signals=Signals())

    assert state is RunState.SUCCEEDED
    assert others.order == ["model", "one ", "two ", "three "]


async def test_who_stops_a_run_whose_end_is_being_written_does_not_break_that_off() -> None:
    others, signals = Others(), Signals()
    others.may_end.clear()
    run = replace(RUN, epoch=1, next_sequence=0, parameters_json=TurnParameters().to_json())
    async with asyncio.timeout(10):
        turn = asyncio.create_task(run_turn(mesh_of(others), run, limits=Limits(), renew_seconds=60, signals=signals))
        await others.ending.wait()
        signals.stop.set()
        for _ in range(5):
            await asyncio.sleep(0)
        others.may_end.set()
        await turn

    assert others.finished is not None
    assert others.finished.state is RunState.SUCCEEDED


async def test_no_model_is_asked_before_a_result_is_durable_whose_first_write_failed() -> None:
    others = Others(failing=1)
    parameters = replace(PARAMETERS, server_tools=ServerTools(everything=True))
    run = replace(RUN, epoch=2, parameters_json=parameters.to_json())
    records = [CallRecord(call=CALL, ordinal=0, state=CallState.INTENT)]
    progress = progress_of(log(ModelStarted(model="m", backend="b")), records)
    turn = Turn(mesh_of(others), Journal(cast(Any, others), run), Limits(tool_rounds=1), progress)
    async with asyncio.timeout(10):
        state = await turn.run()

    assert state is RunState.SUCCEEDED
    assert others.order[:2] == ["result", "model"]
