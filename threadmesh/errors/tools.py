"""Errors of tools, their servers and their calls."""

from threadmesh.errors.kinds import (
    Code,
    InvalidArgument,
    MeshError,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)


class InvalidToolArguments(InvalidArgument):
    """The arguments do not fit the tool's schema; correct them and call again."""

    reason = "INVALID_TOOL_ARGUMENTS"


class CallNotFound(NotFound):
    """There is no such tool call, or it has ended."""

    reason = "CALL_NOT_FOUND"


class ToolNotFound(NotFound):
    """There is no such tool; list the tools to see their names."""

    reason = "TOOL_NOT_FOUND"


class ResourceNotFound(NotFound):
    """There is no such resource."""

    reason = "RESOURCE_NOT_FOUND"


class PromptNotFound(NotFound):
    """There is no such prompt."""

    reason = "PROMPT_NOT_FOUND"


class ToolDefinitionChanged(PreconditionFailed):
    """The tool's definition has changed since it was pinned; it can be called once a person has approved it."""

    reason = "TOOL_DEFINITION_CHANGED"


class ToolSuspicious(PreconditionFailed):
    """The tool's definition is suspicious; it can be called once a person has approved it."""

    reason = "TOOL_SUSPICIOUS"


class DefinitionDiffers(PreconditionFailed):
    """The tool's definition is not the one that was read; read it again before you approve it.

    The fact `present_hash` identifies the present one.
    """

    reason = "DEFINITION_DIFFERS"


class ArgumentsDiffer(PreconditionFailed):
    """The call's arguments are not those that were read; read the call again before you decide.

    The fact `present_hash` identifies the present ones.
    """

    reason = "ARGUMENTS_DIFFER"


class CallNotWaiting(PreconditionFailed):
    """Nobody asks about this call now."""

    reason = "CALL_NOT_WAITING"


class CallAlreadyDecided(PreconditionFailed):
    """Something else was said about this call before; the first word holds."""

    reason = "CALL_ALREADY_DECIDED"


class ToolNeedsApproval(PreconditionFailed):
    """This tool is called only when a person approves."""

    reason = "TOOL_NEEDS_APPROVAL"


class CallDenied(MeshError):
    """A person has denied this call; do not repeat it on your own."""

    code = Code.PERMISSION_DENIED
    reason = "CALL_DENIED"


class ToolRateLimited(Overloaded):
    """The tool may not be called that often; try again later."""

    reason = "TOOL_RATE_LIMITED"


class ToolQueueFull(Overloaded):
    """Too many calls wait for the tool's server; try again in a moment."""

    reason = "TOOL_QUEUE_FULL"


class ToolServerUnavailable(Unavailable):
    """The tool's server cannot be reached now."""

    reason = "TOOL_SERVER_UNAVAILABLE"


class ToolServerResting(ToolServerUnavailable):
    """The tool's server failed too often and is left alone for a while; try again later."""


class ToolFailed(MeshError):
    """The tool reported an error."""

    code = Code.UNKNOWN
    reason = "TOOL_FAILED"


class ToolServerFailed(ToolFailed):
    """The tool's server reported an error of its own."""

    reason = "TOOL_SERVER_FAILED"


class ToolConnectionLost(Unavailable):
    """The connection to the tool's server broke before it answered."""

    reason = "TOOL_CONNECTION_LOST"


class ToolCallNotDone(MeshError):
    """The call was cut off, and its server says that nothing was done; it may be made again."""

    code = Code.ABORTED
    reason = "TOOL_CALL_NOT_DONE"


class ToolAuthenticationFailed(MeshError):
    """The tool's server refuses our credentials; correct them in the servers file."""

    code = Code.UNAUTHENTICATED
    reason = "TOOL_AUTH_FAILED"


class ToolInputRequired(Unsupported):
    """The tool asks for input while it runs, which it was not given; it was not finished."""

    reason = "TOOL_INPUT_REQUIRED"


class ToolResultTooLarge(MeshError):
    """The tool ran, but its result is too large to be passed on; ask it for less."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOOL_RESULT_TOO_LARGE"


class ToolResultInvalid(MeshError):
    """The tool ran, but its result does not fit what the tool declares."""

    code = Code.UNKNOWN
    reason = "TOOL_RESULT_INVALID"


class ToolAnswerUnreadable(ToolResultInvalid):
    """The tool's server answered something that breaks the protocol; what the call did is not known."""

    reason = "TOOL_ANSWER_UNREADABLE"
