"""What a run asks of a person, and what was answered."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from threadmesh.conversation import Part


class Resolution(StrEnum):
    """What a person says about a tool call: whether it may be sent, or whether one of unknown outcome took effect."""

    APPROVED = "approved"
    DENIED = "denied"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def permits(self) -> bool:
        """Whether it answers the question if a call may be sent."""
        return self in {Resolution.APPROVED, Resolution.DENIED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's word, with its reason; `parts` are the result of a call that is known to have succeeded.

    `request_id` tells the same word, said again, from another one; empty if that does not matter.
    """

    resolution: Resolution
    time: datetime
    reason: str = ""
    parts: tuple[Part, ...] = ()
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A call about which a person is asked, or was; `definition_hash` identifies the tool as it was then."""

    call_id: str
    definition_hash: str = ""
    decision: Decision | None = None
