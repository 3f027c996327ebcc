"""MCP's JSON of resources and prompts as the domain's values. Pure functions."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from threadmesh.conversation import Message, Role
from threadmesh.errors import ToolAnswerUnreadable, ToolInputRequired
from tools_svc.adapters.mcp_values import clean, part
from tools_svc.domain.library import (
    FilledPrompt,
    Prompt,
    PromptArgument,
    Resource,
    ResourceContent,
    ResourceTemplate,
)

_LONGEST_TEXT = 4_096
_LARGEST_SIZE = 2**63 - 1
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}


def resource(raw: Mapping[str, Any]) -> Resource:
    """Read a resource of a list; raises `ToolAnswerUnreadable`."""
    uri, size = _key(raw, "uri"), raw.get("size")
    known = isinstance(size, int) and 0 <= size <= _LARGEST_SIZE
    return Resource(uri=uri, size=size if known and size else 0, **_described(raw, uri))


def template(raw: Mapping[str, Any]) -> ResourceTemplate:
    """Read a template of a list; raises `ToolAnswerUnreadable`."""
    uri = _key(raw, "uriTemplate")
    return ResourceTemplate(uri_template=uri, **_described(raw, uri))


def prompt(raw: Mapping[str, Any]) -> Prompt:
    """Read a prompt of a list; raises `ToolAnswerUnreadable`."""
    name, arguments = _key(raw, "name"), tuple(map(_argument, raw.get("arguments") or ()))
    return Prompt(name=name, title=_text(raw, "title"), description=_text(raw, "description"), arguments=arguments)


def contents(raw: Mapping[str, Any]) -> tuple[ResourceContent, ...]:
    """Read what a resource holds; raises `ToolInputRequired` and `ToolAnswerUnreadable`."""
    _check_complete(raw)
    given = raw.get("contents")
    if not isinstance(given, list):
        raise ToolAnswerUnreadable("The server's answer has no contents.")
    return tuple(map(_content, given))


def filled(raw: Mapping[str, Any]) -> FilledPrompt:
    """Read what a prompt becomes; raises `ToolInputRequired` and `ToolAnswerUnreadable`."""
    _check_complete(raw)
    given = raw.get("messages")
    if not isinstance(given, list):
        raise ToolAnswerUnreadable("The server's answer has no messages.")
    return FilledPrompt(description=_text(raw, "description"), messages=tuple(map(_message, given)))


def _check_complete(raw: Mapping[str, Any]) -> None:
    if raw.get("resultType", "complete") != "complete":
        raise ToolInputRequired


def _content(raw: Any) -> ResourceContent:
    match raw:
        case {"uri": str(uri), "text": str(text)}:
            return ResourceContent(uri=clean(uri), mime_type=_text(raw, "mimeType"), content=clean(text))
        case {"uri": str(uri), "blob": str(blob)}:
            return ResourceContent(uri=clean(uri), mime_type=_text(raw, "mimeType"), content=_bytes(blob))
        case _:
            raise ToolAnswerUnreadable("A part of the resource is neither text nor bytes.")


def _bytes(blob: str) -> bytes:
    try:
        return base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolAnswerUnreadable("A part of the resource is not base64.") from error


def _message(raw: Any) -> Message:
    match raw:
        case {"role": str(role), "content": content} if role in _ROLES:
            blocks = content if isinstance(content, list) else [content]
            return Message(role=_ROLES[role], parts=tuple(map(part, blocks)))
        case _:
            raise ToolAnswerUnreadable("A message of the prompt is of nobody known.")


def _key(raw: Mapping[str, Any], field: str) -> str:
    """Give what an entry is asked for by; one that could not be read has none, and says why."""
    if not raw[field]:
        raise ToolAnswerUnreadable(_text(raw, "description") or f"It has no {field}.")
    return clean(raw[field])


def _argument(raw: Mapping[str, Any]) -> PromptArgument:
    return PromptArgument(
        name=clean(raw["name"]),
        title=_text(raw, "title"),
        description=_text(raw, "description"),
        required=raw.get("required") is True,
    )


def _described(raw: Mapping[str, Any], otherwise: str) -> dict[str, str]:
    texts = {
        "title": _text(raw, "title"),
        "description": _text(raw, "description"),
        "mime_type": _text(raw, "mimeType"),
    }
    return {"name": _text(raw, "name") or otherwise} | texts


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return clean(value)[:_LONGEST_TEXT] if isinstance(value, str) else ""
