"""The kinds of errors: what each means for the caller."""

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


class MessageTooLarge(InvalidArgument):
    """The message is larger than 4 MiB; send less at once."""

    reason = "MESSAGE_TOO_LARGE"


class NotFound(MeshError):
    """There is no such thing."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class PreconditionFailed(MeshError):
    """The present state does not allow this."""

    code = Code.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"


class Unauthenticated(MeshError):
    """Say who you are: send a valid key as `Authorization: Bearer <key>`."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class InsufficientScope(MeshError):
    """This key may not do that; use one with the scope that is missing."""

    code = Code.PERMISSION_DENIED
    reason = "INSUFFICIENT_SCOPE"


class Overloaded(MeshError):
    """Too many requests at once; try again in a moment."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    retryable = True
    retry_after: float | None = 1.0


class RateLimitExceeded(Overloaded):
    """This key has reached one of its limits; the fact `limited` says which one."""

    reason = "RATE_LIMIT_EXCEEDED"


class InsufficientQuota(MeshError):
    """As much is stored as may be; delete what is no longer needed."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "INSUFFICIENT_QUOTA"


class Unavailable(MeshError):
    """A service cannot be reached now; try again in a moment."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"
    retryable = True
    retry_after: float | None = 1.0


class Unreachable(Unavailable):
    """There is no connection to a service: nothing of this request has reached it."""


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
