"""How far a turn is, and how that is read from the log that its former writer left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from facade.domain.answer import Answer
from facade.domain.events import ModelFinished, ModelStarted, RunEvent
from facade.domain.ports import CallRecord
from threadmesh.conversation import CallStarted, ReasoningDelta, TextDelta, ToolCallDelta, Usage


@dataclass(slots=True)
class Progress:
    """How far a turn is; a new one stands at its beginning.

    `answer` is what the model has said in this `round`, `begun` are the calls of this round whose intent was written
    down and `attempts` their tries, `calls` counts those of the rounds before, and `usage` is what these consumed.
    """

    round: int = 0
    answer: Answer = field(default_factory=Answer)
    usage: Usage = Usage()
    calls: int = 0
    begun: Sequence[CallRecord] = ()
    attempts: dict[str, int] = field(default_factory=dict)

    def next_round(self) -> None:
        """Go on to the next round; what this one consumed has been added to the usage."""
        self.calls += len(self.begun)
        self.round += 1
        self.answer, self.begun, self.attempts = Answer(), (), {}


def progress_of(events: Iterable[RunEvent], calls: Sequence[CallRecord]) -> Progress:
    """Read how far a turn is from the log of its run and the journal of its calls.

    The journal is as durable as the log, and a round's results stand in the thread as soon as its calls have ended.
    """
    progress = Progress()
    for event in events:
        while event.round > progress.round:
            progress.next_round()
        if isinstance(event.body, ModelStarted | TextDelta | ReasoningDelta | ToolCallDelta | ModelFinished):
            progress.answer.add(event.body)
        if isinstance(event.body, CallStarted):
            progress.attempts[event.call_id] = event.body.attempt
        if isinstance(event.body, ModelFinished):
            progress.usage += event.body.usage
    asked = {call.id for call in progress.answer.calls}
    progress.begun = [record for record in calls if record.call.id in asked]
    progress.calls = len(calls) - len(progress.begun)
    return progress
