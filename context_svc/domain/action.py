"""What a run asks of a person, and what was answered."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from threadmesh.conversation import Part
from threadmesh.questions import Answer, InputRequired


class Resolution(StrEnum):
    """What a person says about a tool call: whether it may be sent, whether one of unknown outcome took effect, or what
    its server has asked.
    """

    APPROVED = "approved"
    DENIED = "denied"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ANSWERED = "answered"

    @property
    def permits(self) -> bool:
        """Whether it answers the question if a call may be sent."""
        return self in {Resolution.APPROVED, Resolution.DENIED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's word, with its reason; `parts` are the result of a call that is known to have ended, `answers` are to
    the questions of a tool's server.

    `request_id` tells the same word, said again, from another one; empty if that does not matter.
    """

    resolution: Resolution
    time: datetime
    reason: str = ""
    parts: tuple[Part, ...] = ()
    request_id: str = ""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A call about which a person is asked, or was; `definition_hash` identifies the tool as it was then.

    `asked` is what the tool's server asks; without it the question is whether the call may be sent. `former` are the
    requests by which its former rounds were answered.
    """

    call_id: str
    definition_hash: str = ""
    decision: Decision | None = None
    asked: InputRequired | None = None
    former: tuple[str, ...] = ()

    @property
    def asks_permission(self) -> bool:
        """Whether the question is, or was, if the call may be sent."""
        return self.asked is None and (self.decision is None or self.decision.resolution.permits)

    def same_question(self, other: "Action") -> bool:
        """Whether both ask the same of the same call, perhaps in other rounds."""
        return self.call_id == other.call_id and (self.asked is None) == (other.asked is None)

    def after(self, before: "Action") -> "Action":
        """Give it as one that follows the former round of its question."""
        answered_by = before.decision.request_id if before.decision else ""
        return replace(self, former=(*before.former, *filter(None, [answered_by])))
