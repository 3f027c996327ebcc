"""The one tree of errors.

    MeshError
    ├── InvalidArgument            the request is wrong and stays wrong
    │   ├── ContextLengthExceeded
    │   ├── InvalidToolArguments
    │   └── UnsupportedSchema
    ├── NotFound
    │   ├── ModelNotFound  ThreadNotFound  RunNotFound  CallNotFound  ToolNotFound
    │   ├── ResourceNotFound  PromptNotFound
    ├── PreconditionFailed         the state of things forbids it
    │   ├── RequestQuarantined  IdempotencyKeyReused  StaleEpoch  RunAlreadyFinished  SequenceMismatch
    │   ├── ThreadDiffers  ThreadChanged
    │   └── ToolDefinitionChanged  DefinitionDiffers
    ├── ThreadBusy                 somebody else is at it
    ├── Unauthenticated
    ├── Overloaded                 too much at once; try later
    │   └── ToolRateLimited
    ├── Unavailable                a part is missing; try later
    │   ├── BackendUnavailable  StoreUnavailable  ToolServerUnavailable  ToolServerResting
    │   ├── StoreGenerationChanged
    │   └── ToolConnectionLost
    ├── StoreFull  ThreadDamaged  EventLogExpired
    ├── ToolFailed  ToolServerFailed  ToolAuthenticationFailed  ToolResultTooLarge
    ├── ToolResultInvalid
    │   └── ToolAnswerUnreadable
    ├── DeadlineExceeded  Cancelled  Aborted
    ├── Unsupported                this server does not offer it
    │   └── ToolInputRequired
    └── Internal                   a defect; details are in the log only

A class says what an error means for the caller: its `code`, its `reason` and whether it is `retryable`. Its docstring
is the default message. Facts are keywords; they travel as `google.rpc.ErrorInfo.metadata`.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Self


class Code(IntEnum):
    """The codes of `google.rpc.Code`, which are gRPC's status codes."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class MeshError(Exception):
    """Something went wrong."""

    code: Code = Code.UNKNOWN
    reason: str = "UNKNOWN"
    retryable: bool = False
    retry_after: float | None = None
    """Seconds after which the same request may succeed, where that is known."""

    def __init__(self, message: str = "", /, **facts: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.facts = {name: str(value) for name, value in facts.items()}
        super().__init__(self.message)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.message} ({facts})" if facts else self.message

    @classmethod
    def restore(cls, *, reason: str, code: Code, message: str, retryable: bool, facts: dict[str, str]) -> "MeshError":
        """Rebuild an error that travelled over the wire, as the class whose reason it carries."""
        known = next((each for each in _descendants(cls) if each.reason == reason), MeshError)
        error = known(message, **facts)
        error.reason, error.code, error.retryable = reason, code, retryable
        return error

    def after(self, seconds: float) -> Self:
        """Say when the same request may succeed, and return the error."""
        self.retry_after = seconds
        return self


def _descendants(cls: type[MeshError]) -> Iterator[type[MeshError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


class InvalidArgument(MeshError):
    """The request is not valid."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str = "", /, *, field: str = "", **facts: object) -> None:
        """`field` is the path of the offending value, such as `messages[3].content`."""
        super().__init__(message, **({"field": field} if field else {}), **facts)
        self.field = field
        self.violations: tuple[tuple[str, str], ...] = ((field, self.message),) if field else ()
        """Every offending field with what is wrong about it, where more than one is known."""


class ContextLengthExceeded(InvalidArgument):
    """The prompt is longer than the model's context; shorten the conversation or use a model with a longer context."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class InvalidToolArguments(InvalidArgument):
    """The arguments do not fit the tool's schema; correct them and call again."""

    reason = "INVALID_TOOL_ARGUMENTS"


class UnsupportedSchema(InvalidArgument):
    """The JSON schema or grammar cannot be used; simplify it.

    The fact `kind` says what is wrong with it, for programs: `schema_too_complex`, `schema_ref_external`,
    `schema_ref_cycle`, `schema_unsupported`, `schema_pattern_unsupported`, `schema_unsatisfiable`, `schema_invalid`.
    """

    reason = "UNSUPPORTED_SCHEMA"


class NotFound(MeshError):
    """There is no such thing."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class ModelNotFound(NotFound):
    """There is no such model; list the models to see their names."""

    reason = "MODEL_NOT_FOUND"


class ThreadNotFound(NotFound):
    """There is no such thread."""

    reason = "THREAD_NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run."""

    reason = "RUN_NOT_FOUND"


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


class PreconditionFailed(MeshError):
    """The present state does not allow this."""

    code = Code.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"


class IdempotencyKeyReused(PreconditionFailed):
    """This idempotency key belongs to a different request; use a new key for a new request."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class RequestQuarantined(PreconditionFailed):
    """This request ended the server when it was last answered; it is refused for a while."""

    reason = "REQUEST_QUARANTINED"


class StaleEpoch(PreconditionFailed):
    """Another process has taken over this run; stop writing to it."""

    reason = "STALE_EPOCH"


class RunAlreadyFinished(PreconditionFailed):
    """The run has ended."""

    reason = "RUN_ALREADY_FINISHED"


class SequenceMismatch(PreconditionFailed):
    """The log expects an event with another number."""

    reason = "SEQUENCE_MISMATCH"


class ThreadDiffers(PreconditionFailed):
    """The thread of this key has other items in the place of these; delete it first, or use another key."""

    reason = "THREAD_DIFFERS"


class ThreadChanged(PreconditionFailed):
    """The thread was summarized, or items of it were removed, since it was read; read it again."""

    reason = "THREAD_CHANGED"


class ToolDefinitionChanged(PreconditionFailed):
    """The tool's definition has changed since it was pinned; it can be called once a person has approved it."""

    reason = "TOOL_DEFINITION_CHANGED"


class DefinitionDiffers(PreconditionFailed):
    """The tool's definition is not the one that was read; read it again before you approve it.

    The fact `present_hash` identifies the present one.
    """

    reason = "DEFINITION_DIFFERS"


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


class ThreadBusy(MeshError):
    """The thread has an active run; wait until it has ended."""

    code = Code.ABORTED
    reason = "THREAD_BUSY"
    retryable = True


class Unauthenticated(MeshError):
    """Say who you are: send a valid key as `Authorization: Bearer <key>`."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class Overloaded(MeshError):
    """Too many requests at once; try again in a moment."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    retryable = True
    retry_after = 1.0


class ToolRateLimited(Overloaded):
    """The tool may not be called that often; try again later."""

    reason = "TOOL_RATE_LIMITED"


class ToolQueueFull(Overloaded):
    """Too many calls wait for the tool's server; try again in a moment."""

    reason = "TOOL_QUEUE_FULL"


class Unavailable(MeshError):
    """A service cannot be reached now; try again in a moment."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"
    retryable = True
    retry_after: float | None = 1.0


class Unreachable(Unavailable):
    """There is no connection to a service: nothing of this request has reached it."""


class BackendUnavailable(Unavailable):
    """No backend can take this request now."""

    reason = "BACKEND_UNAVAILABLE"


class NoCompatibleReplica(Unavailable):
    """The answer had begun with a model that is gone, and no other can go on with it; send the request again."""

    reason = "NO_COMPATIBLE_REPLICA"
    retryable = False


class StoreUnavailable(Unavailable):
    """The store of threads cannot be reached now."""

    reason = "STORE_UNAVAILABLE"


class StoreGenerationChanged(StoreUnavailable):
    """The store has lost data since this service started; restart the service to go on with what is left."""

    reason = "STORE_GENERATION_CHANGED"
    retryable = False
    retry_after = None


class ToolServerUnavailable(Unavailable):
    """The tool's server cannot be reached now."""

    reason = "TOOL_SERVER_UNAVAILABLE"


class ToolServerResting(ToolServerUnavailable):
    """The tool's server failed too often and is left alone for a while; try again later."""


class DeadlineExceeded(MeshError):
    """It took longer than allowed."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    retryable = True


class Cancelled(MeshError):
    """It was stopped."""

    code = Code.CANCELLED
    reason = "CANCELLED"


class Aborted(MeshError):
    """It was given up before it was done; try again."""

    code = Code.ABORTED
    reason = "ABORTED"
    retryable = True


class Unsupported(MeshError):
    """This server does not offer that."""

    code = Code.UNIMPLEMENTED
    reason = "UNSUPPORTED"


class Internal(MeshError):
    """Something went wrong inside; the log has the details under this request's id."""

    code = Code.INTERNAL
    reason = "INTERNAL"


class StoreFull(MeshError):
    """The store's disk is full; free some space. What is stored can still be read."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STORE_FULL"


class ThreadDamaged(MeshError):
    """An item of this thread is damaged on disk; other threads are not."""

    code = Code.DATA_LOSS
    reason = "THREAD_DAMAGED"


class EventLogExpired(MeshError):
    """The events asked for have expired; the run with its end and the thread's items are still there."""

    code = Code.OUT_OF_RANGE
    reason = "EVENT_LOG_EXPIRED"


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


class ToolAuthenticationFailed(MeshError):
    """The tool's server refuses our credentials; correct them in the servers file."""

    code = Code.UNAUTHENTICATED
    reason = "TOOL_AUTH_FAILED"


class ToolInputRequired(Unsupported):
    """The tool asks for more input while it runs, which this server does not give; it was not finished."""

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
