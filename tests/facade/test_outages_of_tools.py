"""A tools service that is away for a moment: whoever has begun something there has more patience."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from facade.domain.asking import Asking
from facade.domain.call import Patience, run_calls
from facade.domain.call_log import CallLog, ResultShape
from facade.domain.events import ToolEvent
from facade.domain.journal import Journal
from facade.domain.limits import Limits, Mesh
from facade.domain.offer import Offer, ServerState, Tool, ToolServer
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.progress import Progress
from facade.domain.records import Answered, Batch, CallRecord, CallState
from facade.domain.retries import Retries
from facade.domain.tokens import TokenCount
from tests.facade.test_journal import RUN
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallFinished, CallOutcome, ToolCall, ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.errors import Unreachable
from threadmesh.questions import Answer, AnswerAction, Form, InputRequired, Question
from threadmesh.retry_budget import unshared

NOBODY = cast(Any, None)
"""Stands for what these tests have nothing to do with."""
FORM = Question(id="q", asked=Form(message="?", schema_json="{}"))
ASKED = InputRequired(name="t", server="s", questions=(FORM,), round=1)
ANSWERS = (Answer(question_id="q", action=AnswerAction.ACCEPT, content_json="{}"),)
BEGUN = CallRecord(call=ToolCall(id="c", name="t", arguments_json="{}"), ordinal=0, state=CallState.INTENT)
ANSWERED = CallRecord(call=BEGUN.call, ordinal=0, state=CallState.INTENT, asked=ASKED, answers=ANSWERS)


class Away:
    """A `Tools` that cannot be reached at first, and an `Inference` that counts."""

    def __init__(self) -> None:
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.asked == 1:
            raise Unreachable(peer="tools")

    async def offer(self, names: Collection[str] = ()) -> Offer:
        self._ask()
        return Offer()

    async def execute(
        self, calls: Sequence[ToolCall], *, answered: Mapping[str, Answered], **_: Any
    ) -> AsyncGenerator[tuple[str, ToolEvent], None]:
        self._ask()
        for call in calls:
            yield call.id, CallFinished(outcome=CallOutcome.SUCCEEDED)

    async def count(self, texts: Sequence[str], *, model: str) -> list[int]:
        return [1 for _ in texts]


class Kept:
    """A `Writer` that keeps what is written."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def append(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return False


def asking(tools: Away, at: Progress) -> Asking:
    choice = ToolChoice(mode=ToolChoiceMode.REQUIRED, name="s__t")
    parameters = TurnParameters(server_tools=ServerTools(everything=True), tool_choice=choice)
    mesh = Mesh(inference=NOBODY, tools=cast(Any, tools), context=NOBODY, retries=Retries.by(SystemClock()))
    return Asking(mesh, RUN, Limits(patience_seconds=0.0, return_seconds=10.0), parameters, at)


async def test_a_run_that_has_begun_waits_for_its_tools_and_does_without_those_that_are_on_their_way() -> None:
    tools = Away()

    assert await asking(tools, Progress(begun=[BEGUN])).catalogue() == {}
    assert tools.asked == 2


class OnItsWay(Away):
    """A `Tools` whose server is on its way when it is asked for the first time."""

    async def offer(self, names: Collection[str] = ()) -> Offer:
        self.asked += 1
        state = ServerState.CONNECTING if self.asked == 1 else ServerState.READY
        tools = () if self.asked == 1 else (Tool(definition=ToolDefinition(name="s__t"), server="s"),)
        return Offer(tools=tools, servers=(ToolServer(name="s", state=state),))


async def test_a_run_that_has_begun_waits_for_a_server_that_is_on_its_way() -> None:
    assert list(await asking(OnItsWay(), Progress(begun=[BEGUN])).catalogue()) == ["s__t"]


async def test_a_run_that_has_not_begun_does_not_wait_for_long() -> None:
    with pytest.raises(Unreachable):
        await asking(Away(), Progress()).catalogue()


@pytest.mark.parametrize(
    ("record", "outcome"), [(ANSWERED, CallOutcome.SUCCEEDED), (BEGUN, CallOutcome.FAILED)], ids=["answered", "new"]
)
async def test_answers_wait_longer_than_calls_that_were_never_sent(record: CallRecord, outcome: CallOutcome) -> None:
    tools, kept = Away(), Kept()
    shape = ResultShape(characters=100, count=TokenCount(cast(Any, tools), ""))
    log = CallLog([record], Journal(cast(Any, kept), RUN), in_round=0, shape=shape, attempts={})
    patience = Patience(first_seconds=0.0, return_seconds=10.0, budget=unshared())
    await run_calls(log, cast(Any, tools), RUN, patience=patience, resumed=False, reply=NOBODY)

    ((finished,), (result,)) = kept.batches[-1].calls, kept.batches[-1].items
    assert finished.finished is not None
    assert finished.finished.outcome is outcome
    assert result.message.tool_call_id == "c"
