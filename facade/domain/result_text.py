"""How models read that a call has ended, and how that is read back where nothing else is kept of the call."""

from threadmesh.conversation import CallFinished, CallOutcome, Failure
from threadmesh.errors import ToolNotFound

_UNKNOWN = "The outcome of this call is unknown: it may or may not have taken effect. Do not repeat it on your own."
_ENDED = {
    CallOutcome.FAILED: "The call failed.",
    CallOutcome.CANCELLED: "The call was cancelled.",
    CallOutcome.DENIED: "The call was denied.",
}


def result_text(finished: CallFinished, output: str) -> str:
    """Give what a model reads of a call with this output."""
    if finished.outcome is CallOutcome.SUCCEEDED:
        return output or finished.structured_json or "The tool gave no output."
    if finished.outcome is CallOutcome.UNKNOWN:
        return _UNKNOWN
    why = finished.failure.message if finished.failure else ""
    return f"{_ENDED[finished.outcome]} {output or why}".strip()


def not_offered(tool: str) -> CallFinished:
    """Give the end of a call of a tool that its request does not offer."""
    error = ToolNotFound(f"There is no such tool in this conversation: {tool}", tool=tool)
    return CallFinished(outcome=CallOutcome.FAILED, failure=Failure.of(error))


def says_not_found(text: str, tool: str) -> bool:
    """Say whether a result holds nothing but the mesh's own words that there is no such tool."""
    unknown = CallFinished(outcome=CallOutcome.FAILED, failure=Failure.of(ToolNotFound()))
    return text in {result_text(ended, "") for ended in (not_offered(tool), unknown)}


def read_result(text: str) -> tuple[CallOutcome, str]:
    """Give how a call ended of which a model reads this, and its output or why there is none."""
    if text == _UNKNOWN:
        return CallOutcome.UNKNOWN, ""
    for outcome, ended in _ENDED.items():
        if text.startswith(ended):
            return outcome, text.removeprefix(ended).strip()
    return CallOutcome.SUCCEEDED, text
