"""The served OpenAPI document: FastAPI's own, with the bodies that are decoded here, every error, and who may ask."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from facade.edge import answers
from facade.edge.answers.common import ErrorAnswer

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"
_KEY = "key"
_EVENT = {
    "type": "object",
    "description": "One event; its data is JSON, or [DONE] at the end.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
"""What OpenAPI 3.2 calls an `itemSchema`; until then tools read the schema of a stream as that of its events."""
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_METHODS = ("get", "post", "put", "patch", "delete")
_WRITES = ("post", "put", "patch", "delete")

_ANY = {401: "invalid_api_key", 404: "not_found", 429: "overloaded", 500: "internal_error", 503: "unavailable"}
_ASKED = {
    400: "invalid_value",
    408: "request_too_slow",
    410: "event_log_expired",
    431: "headers_too_large",
    501: "unsupported",
    502: "tool_server_failed",
    504: "deadline_exceeded",
}
_WRITTEN = {
    403: "call_denied",
    409: "thread_locked",
    413: "request_too_large",
    415: "unsupported_media_type",
    422: "idempotency_key_reused",
    507: "store_full",
}
_MEANINGS = {
    400: "Something in the request is wrong; `param` says where.",
    401: "No valid key was sent.",
    403: "A person has said no.",
    404: "There is no such thing, or it is another key's.",
    408: "The request did not arrive in time.",
    409: "Somebody else is at it, or it was decided before.",
    410: "The events asked for have expired.",
    413: "The body is larger than 4 MiB.",
    415: "The body is not JSON, or it is encoded.",
    422: "The present state does not allow this.",
    429: "Too many requests at once; `Retry-After` says when to come back.",
    431: "The headers are more than 100, or larger than 16 KiB.",
    500: "A defect; the log has its details under `x-request-id`.",
    501: "This server, or this model, does not offer that.",
    502: "A tool's server failed.",
    503: "A part is missing; `Retry-After` says when to come back.",
    504: "It took longer than allowed.",
    507: "The store's disk is full.",
}


def request_body(
    model: type[BaseModel], examples: Mapping[str, Any] | None = None, *, optional: bool = False
) -> dict[str, Any]:
    """Describe a JSON body for a route's `openapi_extra`, with examples by their names."""
    content: dict[str, Any] = {"schema": _reference(model)}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": not optional, "content": {_JSON: content}}}


def answer(model: type[BaseModel], *, stream: str = "") -> dict[int | str, dict[str, Any]]:
    """Describe what a route answers when all goes well, for its `responses`; `stream` is an example of its events."""
    described: dict[str, Any] = {"model": model, "description": (model.__doc__ or "").splitlines()[0]}
    if stream:
        described["content"] = _events(stream)
    return {200: described}


def answer_stream(example: str) -> dict[int | str, dict[str, Any]]:
    """Describe a route that answers with a stream of events and nothing else."""
    return {200: {"description": "Server-sent events.", "content": _events(example)}}


def _events(example: str) -> dict[str, Any]:
    return {"text/event-stream": {"schema": _EVENT, "example": example}}


def install(app: FastAPI, *models: type[BaseModel]) -> None:
    """Add the models with all that they consist of, the errors and the key to the document of the app."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generated()
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        # Those of the answers once more, since FastAPI drops what is null, also in examples.
        described: tuple[type[BaseModel], ...] = (*answers.all_answers(), *models)
        schemas |= _schemas(described)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
        components["responses"] = {f"Error{status}": _error(status) for status in sorted(_MEANINGS)}
        for path, method, operation in _operations(document):
            _describe(path, method, operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Give the schemas of models, and of all that they consist of, by names that no two of them share."""
    found: dict[str, Any] = {}
    for model in models:
        schema = _bounded(model.model_json_schema(ref_template=_REFERENCE))
        for name, part in {**schema.pop("$defs", {}), model.__name__: schema}.items():
            if found.setdefault(name, part) != part:
                raise ValueError(f"two models of the document are called {name}")
    return found


def _bounded(schema: Any) -> Any:
    """Write bounds as JSON Schema does: pydantic does not know how where a number is first made of another."""
    if isinstance(schema, list):
        return [_bounded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    numeric = schema.get("type") in ("integer", "number")
    return {_BOUNDS.get(key, key) if numeric else key: _bounded(value) for key, value in schema.items()}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    """Say of an operation who may ask, and every way in which it can go wrong, in place of FastAPI's own errors."""
    responses = operation["responses"]
    responses.pop("422", None)
    for content in responses.get("200", {}).get("content", {}).values():
        if "$ref" in content.get("schema", {}):
            content["schema"] = {"$ref": content["schema"]["$ref"]}
    if not path.startswith("/v1/"):
        return
    operation["security"] = [{_KEY: []}]
    for status in sorted(_ANY | _ASKED | (_WRITTEN if method in _WRITES else {})):
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}


def _error(status: int) -> dict[str, Any]:
    code = (_ANY | _ASKED | _WRITTEN)[status]
    told = {"message": _MEANINGS[status], "type": "server_error" if status >= 500 else "invalid_request_error"}
    example = {"error": {**told, "param": None, "code": code}}
    content = {_JSON: {"schema": _reference(ErrorAnswer), "example": example}}
    return {"description": _MEANINGS[status], "content": content}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
