"""Results as the SDK can be given them: it checks each as a whole, however much there is, and refuses it as a whole."""

from typing import Any

from mcp_types import Tool
from pydantic import ValidationError

from tools_svc.domain.output import MOST_PARTS

_PARTS = ("content", "contents", "messages")


def has_too_many_parts(result: dict[str, Any]) -> bool:
    """Whether a result has more parts than one may have; looks at none of them."""
    return any(isinstance(parts := result.get(key), list) and len(parts) > MOST_PARTS for key in _PARTS)


def with_nameless(result: dict[str, Any]) -> dict[str, Any]:
    """Give a list of tools with those that cannot be read replaced by tools without a name, which say why."""
    tools = result.get("tools")
    if not isinstance(tools, list):
        return result
    readable = [_readable(tool) for tool in tools]
    changed = any(after is not before for after, before in zip(readable, tools, strict=True))
    return {**result, "tools": readable} if changed else result


def _readable(tool: Any) -> Any:
    try:
        Tool.model_validate(tool, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'tool'}: {first['msg']}"
        return {"name": "", "description": why, "inputSchema": {"type": "object"}}
    return tool
