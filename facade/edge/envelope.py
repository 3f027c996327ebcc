"""What is wrong with a request before its body is read: its headers, its path."""

from starlette.types import Scope

from threadmesh.errors import Code, InvalidArgument, MeshError, NotFound

_HEADER_BYTES = 16 * 1024
_HEADERS = 100
_SEGMENT = 256
"""Characters of the longest name in a path: that of a model."""


class HeadersTooLarge(InvalidArgument):
    """The headers are more than 100, or larger than 16 KiB."""

    reason = "HEADERS_TOO_LARGE"


class InvalidHttp(InvalidArgument):
    """This is no valid HTTP request, or one that could be read in two ways."""

    reason = "INVALID_HTTP"


class RequestTooSlow(MeshError):
    """The request did not arrive in time."""

    code = Code.DEADLINE_EXCEEDED
    reason = "REQUEST_TOO_SLOW"
    retryable = True


def refusal(scope: Scope) -> MeshError | None:
    """Give the reason to refuse a request without looking further; None if there is none."""
    headers = scope["headers"]
    if len(headers) > _HEADERS or sum(len(name) + len(value) for name, value in headers) > _HEADER_BYTES:
        return HeadersTooLarge()
    path = scope["path"]
    # No store can keep NUL, and nothing here has a name with control characters or one that long.
    if not path.isprintable() or any(len(segment) > _SEGMENT for segment in path.split("/")):
        return NotFound("There is nothing at this path.")
    return None
