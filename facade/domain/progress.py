"""How far a turn is, and how that is read from the log that its former writer left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from facade.domain.answer import Answer
from facade.domain.events import ModelFinished, ModelStarted, RunEvent
from facade.domain.records import CallRecord
from threadmesh.conversation import CallStarted, ReasoningDelta, TextDelta, ToolCallDelta, Usage


@dataclass(slots=True)
class Progress:
    """How far a turn is; a new one stands at its beginning.

    `answers` are what the model has said in this `round`, one for each choice that the request wants; `begun` are the
    calls of this round whose intent was written down and `attempts` their tries, `calls` counts those of the rounds
    before, and `usage` is what these consumed.
    """

    round: int = 0
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    usage: Usage = Usage()
    calls: int = 0
    begun: Sequence[CallRecord] = ()
    attempts: dict[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many entries the rounds before have left in the thread: an answer each, and the results of its calls."""
        return self.round + self.calls

    @property
    def answer(self) -> Answer:
        """The first choice, which stands in the thread; often the only one."""
        return self.answers[0]

    def choice(self, number: int) -> Answer:
        """Give what is known of one of the answers."""
        while len(self.answers) <= number:
            self.answers.append(Answer())
        return self.answers[number]

    def spend(self, usage: Usage, *, choice: int) -> None:
        """Add what an answer consumed. The prompt of several choices is the same, and counts once."""
        self.usage += usage if not choice else replace(usage, prompt_tokens=0, cached_tokens=0)

    def next_round(self) -> None:
        """Go on to the next round; what this one consumed has been added to the usage."""
        self.calls += len(self.begun)
        self.round += 1
        self.answers, self.begun, self.attempts = [Answer()], (), {}


def progress_of(events: Iterable[RunEvent], calls: Sequence[CallRecord]) -> Progress:
    """Read how far a turn is from the log of its run and the journal of its calls.

    The journal is as durable as the log, and a round's results stand in the thread as soon as its calls have ended.
    """
    progress = Progress()
    for event in events:
        while event.round > progress.round:
            progress.next_round()
        if isinstance(event.body, ModelStarted | TextDelta | ReasoningDelta | ToolCallDelta | ModelFinished):
            progress.choice(event.choice).add(event.body)
        if isinstance(event.body, CallStarted):
            progress.attempts[event.call_id] = event.body.attempt
        if isinstance(event.body, ModelFinished):
            progress.spend(event.body.usage, choice=event.choice)
    asked = {call.id for call in progress.answer.calls}
    progress.begun = [record for record in calls if record.call.id in asked]
    progress.calls = len(calls) - len(progress.begun)
    return progress
