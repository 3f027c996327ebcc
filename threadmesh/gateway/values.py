"""Tools and the ends of their calls as MCP says them. Pure functions.

Revisions of MCP before 2026-07-28 know only objects as structured results.
"""

import base64
import json
from typing import Any, assert_never

import mcp_types as types
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.conversation import CallFinished, CallOutcome, Media, Part, Reasoning, Refusal, Text
from threadmesh.errors import MeshError

_UNKNOWN = "Nobody knows whether this call took effect; look before you repeat it."
_HINTS: dict[int, types.ToolAnnotations] = {
    pb.EFFECT_READ_ONLY: types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True),
    pb.EFFECT_IDEMPOTENT: types.ToolAnnotations(read_only_hint=False, idempotent_hint=True),
}
_UNSAFE = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False)


def tool(offered: pb.Tool, *, version: str) -> types.Tool:
    """Give a tool as a client of this revision is told of it.

    A keyed tool is not idempotent there: a call outside of runs has no key. One whose results anybody may have written
    is of an open world.
    """
    hints = _HINTS.get(offered.effect, _UNSAFE)
    output = json.loads(offered.output_schema_json) if offered.output_schema_json else None
    return types.Tool(
        name=offered.definition.name,
        title=offered.title or None,
        description=offered.definition.description or None,
        input_schema={"type": "object"} | json.loads(offered.definition.parameters_json or "{}"),
        output_schema=output if is_modern(version) or _describes_object(output) else None,
        annotations=hints.model_copy(update={"open_world_hint": True}) if offered.untrusted else hints,
    )


def call_result(finished: CallFinished, *, version: str) -> types.CallToolResult:
    """Give the end of a call; what is not known of it is said first."""
    failed = finished.outcome is not CallOutcome.SUCCEEDED
    content = [block(part) for part in finished.parts]
    if finished.outcome is CallOutcome.UNKNOWN:
        content.insert(0, types.TextContent(text=_UNKNOWN))
    structured = json.loads(finished.structured_json) if finished.structured_json else None
    if structured is not None and not content:
        content.append(types.TextContent(text=finished.structured_json))
    return types.CallToolResult(
        content=content,
        structured_content=structured if is_modern(version) or isinstance(structured, dict) else None,
        is_error=failed,
        _meta=_meta(finished) if failed else None,
    )


def call_error(error: MeshError, *, unknown: bool) -> types.CallToolResult:
    """Give the end of a call whose own end was not told."""
    words = f"{_UNKNOWN} {error.message}" if unknown else error.message
    outcome = CallOutcome.UNKNOWN if unknown else CallOutcome.FAILED
    return types.CallToolResult(
        content=[types.TextContent(text=words)],
        is_error=True,
        _meta={"threadmesh/outcome": str(outcome), "threadmesh/reason": error.reason},
    )


def fits(result: types.Result, method: str, *, version: str) -> bool:
    """Whether a client of this revision can be told so; the SDK would refuse a whole list for one entry."""
    try:
        methods.validate_server_result(
            method, version, result.model_dump(by_alias=True, mode="json", exclude_none=True)
        )
    except ValueError:
        return False
    return True


def _meta(finished: CallFinished) -> dict[str, Any]:
    reason = finished.failure.reason if finished.failure else ""
    return {"threadmesh/outcome": str(finished.outcome), "threadmesh/reason": reason}


def block(part: Part) -> types.ContentBlock:
    """Give a part of a message as a block of content."""
    match part:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return types.TextContent(text=text)
        case Media(mime_type=mime_type, data=data):
            kind = types.AudioContent if mime_type.startswith("audio/") else types.ImageContent
            return kind(data=base64.b64encode(data).decode(), mime_type=mime_type)
        case other:
            assert_never(other)


def is_modern(version: str) -> bool:
    """Whether clients of this revision know any JSON as a structured result."""
    return version in MODERN_PROTOCOL_VERSIONS


def _describes_object(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"
