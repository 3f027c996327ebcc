"""What goes wrong below and inside MCP, as the house's errors."""

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    Overloaded,
    ToolAnswerUnreadable,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolFailed,
    ToolResultTooLarge,
    ToolServerFailed,
    ToolServerUnavailable,
)

# JSON-RPC error codes by which our transports tell what happened below the protocol; outside of JSON-RPC's own range.
RESULT_TOO_LARGE = -39001
NOT_SENT = -39002
LOST = -39003
AUTHENTICATION = -39004
RATE_LIMITED = -39005
DEVIATES = -39006
NO_ANSWER = -39007

# What a code means and in which words: None takes the error's own, "" those of the class.
_MEANINGS: dict[int, tuple[type[MeshError], str | None]] = {
    NOT_SENT: (ToolServerUnavailable, ""),
    LOST: (ToolConnectionLost, ""),
    NO_ANSWER: (ToolConnectionLost, None),
    types.CONNECTION_CLOSED: (ToolConnectionLost, ""),
    types.PARSE_ERROR: (ToolConnectionLost, ""),
    RESULT_TOO_LARGE: (ToolResultTooLarge, ""),
    AUTHENTICATION: (ToolAuthenticationFailed, ""),
    DEVIATES: (ToolAnswerUnreadable, None),
    RATE_LIMITED: (Overloaded, "The tool's server is too busy; try again in a moment."),
    types.REQUEST_TIMEOUT: (DeadlineExceeded, "The tool's server did not answer in time."),
}
_LONGEST_MESSAGE = 2_000

SDK_ERRORS = (
    MCPError,
    ValidationError,
    TimeoutError,
    OSError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
)
"""What the SDK raises for a request."""


def no_answer(status: int) -> tuple[int, str]:
    """Give the code and the words for a status in the place of an answer: nobody knows whether the call took effect."""
    return NO_ANSWER, f"The tool's server, or a proxy before it, gave status {status} and no answer."


def translated(error: BaseException) -> MeshError:
    """Give the SDK's error as ours."""
    match error:
        case MeshError():
            return error
        case MCPError(code=code, message=said) if code in _MEANINGS:
            meaning, message = _MEANINGS[code]
            return meaning(said[:_LONGEST_MESSAGE] if message is None else message)
        case MCPError(code=code, message=message):
            failed = ToolServerFailed if code == types.INTERNAL_ERROR else ToolFailed
            return failed(message[:_LONGEST_MESSAGE], mcp_code=code)
        case ValidationError() | KeyError() | TypeError():
            return ToolAnswerUnreadable()
        case TimeoutError():
            return DeadlineExceeded("The tool's server did not answer in time.")
        case _:
            return ToolConnectionLost()
