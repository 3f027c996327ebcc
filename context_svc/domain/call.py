"""The tool calls of a run, as far as they are known."""

from dataclasses import dataclass
from enum import StrEnum

from threadmesh.conversation import CallFinished


class CallState(StrEnum):
    """How far a tool call is. INTENT is durable before anything is sent."""

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    AWAITING_INPUT = "awaiting_input"
    INTENT = "intent"
    SENT = "sent"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call of a run; `ordinal` is its place among them, `attempt` counts its tries."""

    id: str
    run_id: str
    ordinal: int
    name: str
    arguments_json: str
    state: CallState
    finished: CallFinished | None = None
    attempt: int = 0
