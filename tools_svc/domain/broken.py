"""What it means that a call broke off: whether it may be tried again, and how it ends otherwise."""

from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MeshError,
    ToolAnswerUnreadable,
    ToolConnectionLost,
    ToolDefinitionChanged,
    ToolServerFailed,
    ToolServerResting,
    ToolServerUnavailable,
)
from tools_svc.domain.output import failed
from tools_svc.domain.tool import Effect

_UNANSWERED = (
    ToolConnectionLost,
    ToolAnswerUnreadable,
    DeadlineExceeded,
    Cancelled,
    Internal,
    ToolServerUnavailable,
    ToolDefinitionChanged,
)
"""Errors that leave open what a call that was sent has done."""


def repeatable(error: MeshError, effect: Effect, *, keyed: bool) -> bool:
    """Whether another attempt may follow: none that could do again what this one may have done.

    `keyed` says that the server could know the call again.
    """
    match error:
        case ToolServerResting():
            return False
        case ToolServerUnavailable():
            return True
        case ToolConnectionLost():
            return effect.repeatable_by(keyed=keyed)
        case ToolServerFailed():
            return effect.harmless
        case _:
            return False


def broken(error: MeshError, effect: Effect, *, sent: bool) -> CallFinished:
    """End a call without the tool's answer. UNKNOWN if it may have taken effect nevertheless."""
    if not sent:
        cancelled = isinstance(error, Cancelled)
        return failed(error, CallOutcome.CANCELLED if cancelled else CallOutcome.FAILED)
    unknown = isinstance(error, _UNANSWERED) and not effect.harmless
    return failed(error, CallOutcome.UNKNOWN if unknown else CallOutcome.FAILED)


def interruption(*, seconds: float, stopped: bool, unsent: bool) -> MeshError:
    """Say why a call broke off: its `seconds` were over, or somebody `stopped` it, perhaps before its turn had come."""
    told = f"{seconds:g} s"
    if unsent:
        if stopped:
            return Cancelled("It was stopped while it waited for its turn; it was not sent.")
        return DeadlineExceeded(f"The call waited for its turn for {told} and was not sent.")
    return Cancelled() if stopped else DeadlineExceeded(f"The tool did not answer within {told}.")
