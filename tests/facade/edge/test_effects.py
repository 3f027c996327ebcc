"""Whether a run's log tells that a tool of the mesh may have been called."""

from datetime import UTC, datetime

import pytest

from facade.domain.events import Body, ModelFinished, ModelStarted, Run, RunEvent, RunState
from facade.edge.chat.completion import Completion
from facade.edge.responses.names import Part
from facade.edge.responses.stored import Echo
from facade.edge.responses.view import View
from threadmesh.conversation import CallFinished, CallOutcome, CallStarted, FinishReason, TextDelta, ToolCallDelta

RUN = Run(id="run_1", thread_id="thread_1", state=RunState.RUNNING, create_time=datetime(2026, 1, 1, tzinfo=UTC))
ASKED = ToolCallDelta(index=0, id="call_1", name="post__send", arguments_json="{}")
STARTED = CallStarted(name="post__send", server="post", arguments_json="{}")
LOST = CallFinished(outcome=CallOutcome.UNKNOWN, name="post__send")


def logged(body: Body, *, hidden: bool) -> list[RunEvent]:
    """Give the log of a run that has come to an event."""
    before: list[Body] = [ModelStarted(model="m", backend="b"), TextDelta(text="Well, ")]
    bodies = [*before, body, ModelFinished(reason=FinishReason.STOP)]
    return [
        RunEvent(sequence=number, call_id="call_1", hidden=hidden and each is body, body=each)
        for number, each in enumerate(bodies)
    ]


@pytest.mark.parametrize(
    ("body", "hidden", "called"),
    [
        (STARTED, False, True),
        (LOST, False, True),
        (ASKED, True, True),
        (ASKED, False, False),
        (TextDelta(text="hello"), False, False),
    ],
    ids=["begun", "lost before it was heard of", "asked for by the model", "the client's own", "none"],
)
def test_a_call_counts_from_the_moment_from_which_it_may_have_been_sent(
    *, body: Body, hidden: bool, called: bool
) -> None:
    completion = Completion(RUN)
    view, later = (View(RUN, Echo(), Part(run_id=RUN.id, after=after)) for after in (-1, 2))
    for event in logged(body, hidden=hidden):
        completion.add(event)
        for each in (view, later):
            list(each.take(event))

    assert [each.tools_were_called for each in (completion, view, later)] == [called] * 3
