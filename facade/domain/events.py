"""What stands in a run's log, and what the turn hears from models and tools."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    Failure,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from threadmesh.questions import CallAwaitingInput, InputRequired


class RunState(StrEnum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStarted:
    """A model began to answer, with this seed; the fingerprint identifies its weights and template.

    `item` numbers the entry of the run's thread that the answer will be; None as the model tells it, and in old logs.
    With a `trusted_context`, nothing that it had read came from a tool whose results anybody may have written; where
    nobody looked, it has none.
    """

    model: str
    backend: str
    fingerprint: str = ""
    seed: int = 0
    item: int | None = None
    trusted_context: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFinished:
    """A model ended its part."""

    reason: FinishReason
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run ended; `failure` says why there is no answer, when there is none."""

    state: RunState
    reason: FinishReason = FinishReason.STOP
    usage: Usage = Usage()
    failure: Failure | None = None


Delta = TextDelta | ReasoningDelta | ToolCallDelta
ModelEvent = ModelStarted | Delta | ModelFinished
CallEvent = CallStarted | CallProgress | CallFinished
ToolEvent = CallEvent | InputRequired
Body = ModelEvent | CallAwaiting | CallAwaitingInput | CallEvent | RunFinished


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One entry of a run's log: its number, the round it belongs to, the call it is about if any, and what happened.

    A `hidden` one is kept for whoever goes on with the run, and is no part of what a reader is shown. Where a request
    wants several answers, `choice` numbers the one that the event belongs to. Of an event with which a response can
    end, `time` says when it was written.
    """

    sequence: int
    round: int = 0
    choice: int = 0
    call_id: str = ""
    hidden: bool = False
    time: datetime | None = field(default=None, compare=False)
    body: Body

    @property
    def may_have_effects(self) -> bool:
        """Whether it tells that a tool of the mesh may have been called: at the latest when the model has asked for it.

        A call can go out before anything else tells of it, or without.
        """
        return isinstance(self.body, CallStarted | CallFinished) or (
            self.hidden and isinstance(self.body, ToolCallDelta)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request being answered, for a tenant; `number` counts those of its thread that were made before.

    Once it has been claimed, `first_input` numbers the entry of its thread with which its input begins, and
    `first_answer` the one that its first answer will be.
    """

    id: str
    tenant: str = ""
    thread_id: str
    number: int = 0
    state: RunState
    create_time: datetime
    epoch: int = 0
    next_sequence: int = 0
    first_input: int = 0
    first_answer: int = 0
    parameters_json: str = ""
    cancel_requested: bool = False
    finished: RunFinished | None = None
