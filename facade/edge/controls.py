"""What a request can ask of the mesh beyond OpenAI's fields: by a header, or by OpenAI's own `metadata`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from threadmesh.errors import InvalidArgument

_HEADERS = {
    "thread_key": "x-thread-key",
    "thread_id": "x-thread-id",
    "tools": "x-threadmesh-tools",
    "events": "x-threadmesh-events",
    "multitask": "x-threadmesh-multitask",
    "idempotency_key": "idempotency-key",
    "on_disconnect": "x-threadmesh-on-disconnect",
}
_CHOICES = {
    "events": ("", "0", "1"),
    "multitask": ("", "enqueue", "interrupt", "reject"),
    "on_disconnect": ("", "cancel", "continue"),
}
_MEANT = ("thread_key", "thread_id", "tools")
_LONGEST = {"thread_key": 512, "thread_id": 128, "idempotency_key": 255}
_MEANINGS = {
    "thread_key": "The thread to go on with; it is made if there is none.",
    "thread_id": "The thread to go on with.",
    "tools": "Tools of the mesh: none, all, or names.",
    "events": "1: a stream tells what these tools do.",
    "multitask": "What happens while the thread is busy.",
    "idempotency_key": "A repeated request with this key gets the same answer.",
    "on_disconnect": "What happens to the run when the client leaves; without a thread or a key, it is cancelled.",
}


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in _CHOICES:
        schema["enum"] = [choice for choice in _CHOICES[name] if choice]
    if name in _LONGEST:
        schema["maxLength"] = _LONGEST[name]
    if name == "idempotency_key":
        schema["pattern"] = "^[!-~]+$"
    return {"name": _HEADERS[name], "in": "header", "schema": schema, "description": _MEANINGS[name]}


DESCRIBED = {"parameters": [_parameter(name) for name in _HEADERS]}
"""The headers, for a route's `openapi_extra`."""
TOOLS_DESCRIBED = {"parameters": [_parameter("tools")]}
"""The header for tools alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The controls of one request; see the table in `docs/architecture.md`.

    Its `meaning` is what was given of those that make it another request: where it belongs, and what it may do.
    """

    thread_key: str
    thread_id: str
    tools: str
    events: bool
    multitask: str
    idempotency_key: str
    cancel_on_disconnect: bool
    meaning: tuple[str, ...]

    def fingerprint(self, body: BaseModel) -> str:
        """Tell the request with this body from every other one."""
        parts = (body.model_dump_json(), *self.meaning)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def controls(
    headers: Mapping[str, str], metadata: Mapping[str, str], *, default_tools: str, conversation: str = ""
) -> Controls:
    """Read the controls; a header wins over the same key in `metadata`. Raises `InvalidArgument` with the place.

    `conversation` is the id of the thread that the request names by itself, if it does.
    """
    given = {name: _read(name, header, headers, metadata) for name, header in _HEADERS.items()}
    if given["thread_key"] and given["thread_id"]:
        raise InvalidArgument("Name the thread by its key or by its id, not by both.", field="metadata.thread_id")
    if conversation and (given["thread_key"] or given["thread_id"]):
        raise InvalidArgument("Name a conversation or a thread, not both.", field="conversation")
    given["thread_id"] = given["thread_id"] or conversation
    in_thread = bool(given["thread_key"] or given["thread_id"])
    # Who gives a key means to ask again after his connection was lost.
    goes_on = in_thread or given["idempotency_key"]
    leaving = given["on_disconnect"] or ("continue" if goes_on else "cancel")
    return Controls(
        thread_key=given["thread_key"],
        thread_id=given["thread_id"],
        tools=given["tools"] or default_tools,
        events=given["events"] == "1",
        multitask=given["multitask"] or "enqueue",
        idempotency_key=given["idempotency_key"],
        cancel_on_disconnect=leaving == "cancel",
        meaning=tuple(f"{name}={given[name]}" for name in _MEANT if given[name]),
    )


def replayed_header(*, replayed: bool) -> dict[str, str]:
    """Give the header that says that an earlier request with the key was answered; none where it was not."""
    return {"idempotent-replayed": "true"} if replayed else {}


def _read(name: str, header: str, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
    place = header if header in headers else f"metadata.{name}"
    value = headers.get(header, metadata.get(name, "")).strip()
    if name == "idempotency_key":
        value = _idempotency_key(value, place, given=header in headers or name in metadata)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise InvalidArgument(f"{place} must be one of {', '.join(filter(None, _CHOICES[name]))}.", field=place)
    if not value.isprintable():
        raise InvalidArgument(f"{place} may not hold control characters or invisible ones.", field=place)
    if len(value) > _LONGEST.get(name, 8192):
        raise InvalidArgument(f"{place} must have at most {_LONGEST[name]} characters.", field=place)
    return value


def _idempotency_key(value: str, place: str, *, given: bool) -> str:
    """Take the key as it is or quoted, as RFC 8941 writes strings."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if given and not (0 < len(value) <= _LONGEST["idempotency_key"] and value.isascii() and value.isprintable()):
        raise InvalidArgument(
            f"{place} must be 1 to 255 printable ASCII characters.", field=place, kind="invalid_idempotency_key"
        )
    return value
