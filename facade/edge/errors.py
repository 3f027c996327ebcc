"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. Nothing else ever leaves the facade."""

import math
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from facade.domain.rate_limits import LIMITS
from facade.edge.invalid import SHOWN, wrong
from facade.edge.wire_fields import as_asked
from threadmesh.errors import Cancelled, Code, Internal, InvalidArgument, MeshError

log = structlog.get_logger()

_INVALID = "invalid_request_error"
_SERVER = "server_error"


@dataclass(frozen=True, slots=True)
class _Shape:
    status: int
    type: str


_BY_CODE = {
    Code.INVALID_ARGUMENT: _Shape(400, _INVALID),
    Code.OUT_OF_RANGE: _Shape(400, _INVALID),
    Code.UNAUTHENTICATED: _Shape(401, _INVALID),
    Code.PERMISSION_DENIED: _Shape(403, "permission_error"),
    Code.NOT_FOUND: _Shape(404, _INVALID),
    Code.ABORTED: _Shape(409, "conflict_error"),
    Code.ALREADY_EXISTS: _Shape(409, "conflict_error"),
    Code.FAILED_PRECONDITION: _Shape(422, _INVALID),
    Code.RESOURCE_EXHAUSTED: _Shape(429, _SERVER),
    Code.CANCELLED: _Shape(499, _SERVER),
    Code.UNIMPLEMENTED: _Shape(501, _INVALID),
    Code.UNAVAILABLE: _Shape(503, _SERVER),
    Code.DEADLINE_EXCEEDED: _Shape(504, _SERVER),
}
_BY_REASON = {
    "CALL_ALREADY_DECIDED": _Shape(409, "conflict_error"),
    "CALL_NOT_WAITING": _Shape(409, "conflict_error"),
    # Of the facade itself, on its link to a unit; the client's key is not meant.
    "CALLER_UNKNOWN": _Shape(500, _SERVER),
    "METHOD_REFUSED": _Shape(500, _SERVER),
    "DEFINITION_DIFFERS": _Shape(409, "conflict_error"),
    "EVENT_LOG_EXPIRED": _Shape(410, _INVALID),
    "INSUFFICIENT_QUOTA": _Shape(429, "insufficient_quota"),
    "HOST_NOT_ALLOWED": _Shape(421, _INVALID),
    "STORE_FULL": _Shape(507, _SERVER),
    "REQUEST_TOO_LARGE": _Shape(413, _INVALID),
    "MESSAGE_TOO_LARGE": _Shape(413, _INVALID),
    "UNSUPPORTED_MEDIA_TYPE": _Shape(415, _INVALID),
    "HEADERS_TOO_LARGE": _Shape(431, _INVALID),
    "REQUEST_TOO_SLOW": _Shape(408, _INVALID),
    "UPGRADE_REQUIRED": _Shape(426, _INVALID),
}
_BY_REASON |= dict.fromkeys(
    (
        "TOOL_ANSWER_UNREADABLE",
        "TOOL_AUTH_FAILED",
        "TOOL_FAILED",
        "TOOL_RESULT_INVALID",
        "TOOL_RESULT_TOO_LARGE",
        "TOOL_SERVER_FAILED",
    ),
    _Shape(502, _SERVER),
)
_CODES = {"UNAUTHENTICATED": "invalid_api_key", "INTERNAL": "internal_error", "THREAD_BUSY": "thread_locked"}
"""`error.code` where it is not the reason in lower case: these are the words that clients know."""

TYPES = tuple(dict.fromkeys([*(shape.type for shape in (*_BY_CODE.values(), *_BY_REASON.values())), *LIMITS]))
"""All that `error.type` can be."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def body_of(error: MeshError, *, path: str = "") -> dict[str, Any]:
    """Give the error's body; `param` is the offending field by its name in a request to this `path`."""
    field = error.facts.get("field")
    return {
        "error": {
            "message": error.message,
            "type": error.facts.get("limited") or _shape(error).type,
            "param": as_asked(field, path) if field else None,
            "code": error.facts.get("kind") or _CODES.get(error.reason, error.reason.lower()),
        }
    }


def response_of(error: MeshError, *, path: str = "", tools_were_called: bool = False) -> Response:
    """Give the error's response, with headers that tell a stock client whether to try again.

    After a tool was called a retry could call it twice, so the client is told not to.
    """
    retry = error.retryable and not tools_were_called
    headers = {"x-should-retry": str(retry).lower()}
    if retry and error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(round(error.retry_after * 1000))
    if challenge := _challenge(error):
        headers["www-authenticate"] = challenge
    return Response(orjson.dumps(body_of(error, path=path)), _shape(error).status, headers, "application/json")


def closing_bytes_of(error: MeshError) -> bytes:
    """Give the error's whole response as HTTP/1.1 has it, for a connection that is closed behind it."""
    response = response_of(error)
    headers = {**response.headers, "x-request-id": f"req_{uuid.uuid4().hex}", "connection": "close"}
    status = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}"
    head = "\r\n".join([status, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
    return head.encode("latin-1") + bytes(response.body)


def defect(error: Exception) -> Internal:
    """Log an error that is none of ours, and give what may be told of it."""
    log.error("request.defect", exc_info=error)
    return Internal()


def _challenge(error: MeshError) -> str:
    """Say what a key has to be (RFC 6750, section 3)."""
    if _shape(error).status == 401:
        return "Bearer"
    scope = error.facts.get("scope")
    return f'Bearer error="insufficient_scope", scope="{scope}"' if scope else ""


def install(app: FastAPI) -> None:
    """Give every error of the app OpenAI's shape, also those of the framework; `RequestScope` answers for defects."""

    @app.exception_handler(MeshError)
    async def _mesh(request: Request, error: MeshError) -> Response:
        log.info("request.refused", reason=error.reason, message=error.message)
        return response_of(error, path=request.url.path)

    @app.exception_handler(ClientDisconnect)
    async def _left(_: Request, __: ClientDisconnect) -> Response:
        return response_of(Cancelled("The client left before its request was complete."))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return _http_response(request, error)

    @app.exception_handler(RequestValidationError)
    async def _parameter(_: Request, error: RequestValidationError) -> Response:
        return response_of(_wrong_parameter(error))


def _wrong_parameter(error: RequestValidationError) -> InvalidArgument:
    """Tell of the first parameter of a path or query that is wrong; bodies are read by our own decoder."""
    first = error.errors()[0]
    return wrong(str(first["loc"][-1])[:SHOWN], [first])


def _shape(error: MeshError) -> _Shape:
    return _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, _Shape(500, _SERVER))


def _http_response(request: Request, error: HTTPException) -> Response:
    path = request.url.path[:SHOWN]
    messages = {
        404: f"There is nothing at {path}.",
        405: f"{request.method[:SHOWN]} is not allowed at {path}.",
    }
    codes = {404: "not_found", 405: "method_not_allowed"}
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers = {"allow": ", ".join(sorted(_allowed(request)))}
    headers["x-should-retry"] = "false"
    body = {
        "error": {
            "message": messages.get(error.status_code, str(error.detail)),
            "type": _INVALID if error.status_code < 500 else _SERVER,
            "param": None,
            "code": codes.get(error.status_code, "http_error"),
        }
    }
    return Response(orjson.dumps(body), error.status_code, headers, "application/json")


def _allowed(request: Request) -> set[str]:
    """Give the methods of a path: of all its routes, where the framework tells those of the first."""
    scopes = ({**request.scope, "method": method} for method in _METHODS)
    found = {
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)
    }
    return found | {"HEAD"} if "GET" in found else found
