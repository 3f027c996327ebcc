"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. Nothing else ever leaves the facade."""

import math
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from threadmesh.errors import Code, Internal, MeshError
from threadmesh.telemetry.logs import current_ids

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
    "HOST_NOT_ALLOWED": _Shape(421, _INVALID),
    "STORE_FULL": _Shape(507, _SERVER),
    "REQUEST_TOO_LARGE": _Shape(413, _INVALID),
    "UNSUPPORTED_MEDIA_TYPE": _Shape(415, _INVALID),
}
_CODES = {"UNAUTHENTICATED": "invalid_api_key", "INTERNAL": "internal_error", "THREAD_BUSY": "thread_locked"}
"""`error.code` where it is not the reason in lower case: these are the words that clients know."""

_FIELDS = {
    "ids[": "tokens[",
    ".schema_json": ".schema",
    ".parameters_json": ".function.parameters",
    ".arguments_json": ".function.arguments",
}


def body_of(error: MeshError) -> dict[str, Any]:
    """Give the error's body; `param` is the path of the offending field, if there is one."""
    return {
        "error": {
            "message": error.message,
            "type": error.facts.get("limited") or _shape(error).type,
            "param": _as_asked(error.facts.get("field")),
            "code": error.facts.get("kind") or _CODES.get(error.reason, error.reason.lower()),
        }
    }


def _as_asked(field: str | None) -> str | None:
    """Give a field by its name in the OpenAI API; services know it by the name on their wire."""
    for wire, asked in _FIELDS.items():
        field = field and field.replace(wire, asked)
    return field


def response_of(error: MeshError, *, tools_were_called: bool = False) -> Response:
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
    return Response(orjson.dumps(body_of(error)), _shape(error).status, headers, "application/json")


def _challenge(error: MeshError) -> str:
    """Say what a key has to be (RFC 6750, section 3)."""
    if error.code is Code.UNAUTHENTICATED:
        return "Bearer"
    scope = error.facts.get("scope")
    return f'Bearer error="insufficient_scope", scope="{scope}"' if scope else ""


def install(app: FastAPI) -> None:
    """Give every error of the app OpenAI's shape, also those of the framework."""

    @app.exception_handler(MeshError)
    async def _mesh(_: Request, error: MeshError) -> Response:
        log.info("request.refused", reason=error.reason, message=error.message)
        return response_of(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return _http_response(request, error)

    @app.exception_handler(Exception)
    async def _defect(_: Request, error: Exception) -> Response:
        log.error("request.defect", exc_info=error)
        response = response_of(Internal())
        # This handler runs outside the middleware that adds the id to every other response.
        response.headers.update({"x-request-id": current_ids().get("request_id", "")})
        return response


def _shape(error: MeshError) -> _Shape:
    return _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, _Shape(500, _SERVER))


def _http_response(request: Request, error: HTTPException) -> Response:
    messages = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not allowed at {request.url.path}.",
    }
    codes = {404: "not_found", 405: "method_not_allowed"}
    body = {
        "error": {
            "message": messages.get(error.status_code, str(error.detail)),
            "type": _INVALID if error.status_code < 500 else _SERVER,
            "param": None,
            "code": codes.get(error.status_code, "http_error"),
        }
    }
    return Response(orjson.dumps(body), error.status_code, error.headers, "application/json")
