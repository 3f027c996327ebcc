"""MCP's JSON to and from the domain's values. Pure functions; what a newer revision adds is kept as text or ignored."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from threadmesh.conversation import Media, Part, Text
from threadmesh.errors import ToolAnswerUnreadable, ToolInputRequired
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.tool import Hints, OfferedTool

_IDS = {
    "run_id": "threadmesh/runId",
    "thread_id": "threadmesh/threadId",
    "call_id": "threadmesh/callId",
    "request_id": "threadmesh/requestId",
    "idempotency_key": "threadmesh/idempotencyKey",
    "traceparent": "traceparent",
}
_MEDIA = ("image", "audio")
_LONGEST_MIME_TYPE = 127
_LONGEST_NAME = 256


def offered_tool(raw: Any) -> OfferedTool:
    """Read a tool's definition; its hash covers every field, whatever their order. Raises `ToolAnswerUnreadable`."""
    name, annotations = _name(raw), raw.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ToolAnswerUnreadable(f"The annotations of the tool {name} are no object.")
    definition = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return OfferedTool(
        name=name,
        title=str(raw.get("title") or annotations.get("title") or ""),
        description=str(raw.get("description") or ""),
        parameters_json=clean(_text(raw.get("inputSchema"))),
        output_schema_json=clean(_text(raw.get("outputSchema"))),
        hints=_hints(annotations),
        definition_hash=hashlib.sha256(definition.encode()).hexdigest(),
        definition_json=definition,
    )


def _hints(annotations: Mapping[str, Any]) -> Hints:
    return Hints(
        read_only=_flag(annotations, "readOnlyHint"),
        idempotent=_flag(annotations, "idempotentHint"),
        destructive=_flag(annotations, "destructiveHint"),
        open_world=_flag(annotations, "openWorldHint"),
    )


def _name(raw: Any) -> str:
    match raw:
        case {"name": str(name)} if 0 < len(name) <= _LONGEST_NAME and clean(name) == name:
            return name
        case {"name": "", "description": str(why)}:
            raise ToolAnswerUnreadable(f"A tool cannot be read: {why[:200]}")
        case _:
            raise ToolAnswerUnreadable(
                f"A tool has no name that can be used, which is a text of at most {_LONGEST_NAME} characters."
            )


def _flag(annotations: Mapping[str, Any], name: str) -> bool | None:
    value = annotations.get(name)
    return value if isinstance(value, bool) else None


def call_meta(invocation: Invocation) -> dict[str, Any]:
    """Give the `_meta` that tells a server whose call it runs; ids that are not known are left out."""
    return {key: value for name, key in _IDS.items() if (value := getattr(invocation, name))}


def tool_output(raw: Mapping[str, Any]) -> ToolOutput:
    """Read a call's result; raises `ToolInputRequired` and `ToolAnswerUnreadable`."""
    if raw.get("resultType", "complete") != "complete":
        raise ToolInputRequired
    blocks = raw.get("content")
    if not isinstance(blocks, list):
        raise ToolAnswerUnreadable("The tool ran, but its answer has no content.")
    structured = raw.get("structuredContent")
    return ToolOutput(
        parts=tuple(part(block) for block in blocks),
        structured_json="" if structured is None else _text(structured),
        is_error=raw.get("isError") is True,
    )


def part(block: Any) -> Part:
    """Read a block of content; one of an unknown kind becomes text. Raises `ToolAnswerUnreadable`."""
    match block:
        case {"type": "text", "text": str(text)}:
            return Text(text=clean(text))
        case {"type": kind, "data": str(data), "mimeType": str(mime_type)} if kind in _MEDIA:
            return _media(data, mime_type)
        case {"type": "resource", "resource": {"text": str(text)}}:
            return Text(text=clean(text))
        case {"type": "resource_link", "uri": str(uri)}:
            described = [str(block[name]) for name in ("title", "name", "description") if block.get(name)]
            return Text(text=clean(": ".join([*described[:1], uri])))
        case _:
            return Text(text=clean(_text(block)))


def _media(data: str, mime_type: str) -> Part:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolAnswerUnreadable("The tool ran, but an image or sound in its answer is not base64.") from error
    if not content or not 3 <= len(mime_type) <= _LONGEST_MIME_TYPE:
        raise ToolAnswerUnreadable("The tool ran, but an image or sound in its answer is empty or of no known type.")
    return Media(mime_type=mime_type, data=content)


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Replace half a surrogate pair, which JSON can spell, but which fits neither UTF-8 nor protobuf."""
    return text.encode("utf-8", "replace").decode()
