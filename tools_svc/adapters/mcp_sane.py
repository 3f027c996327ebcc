"""Results as the SDK can be given them: it checks each as a whole, however much there is, and refuses it as a whole."""

from typing import Any

from mcp_types import Prompt, Resource, ResourceTemplate, Tool
from pydantic import BaseModel, ValidationError

from tools_svc.domain.output import MOST_PARTS

_PARTS = ("content", "contents", "messages")

_LISTS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "tools": (Tool, {"name": "", "inputSchema": {"type": "object"}}),
    "resources": (Resource, {"name": "", "uri": ""}),
    "resourceTemplates": (ResourceTemplate, {"name": "", "uriTemplate": ""}),
    "prompts": (Prompt, {"name": ""}),
}
"""What the entries of each list have to be, and what stands for one that is not."""


def has_too_many_parts(result: dict[str, Any]) -> bool:
    """Whether a result has more parts than one may have; looks at none of them."""
    return any(isinstance(parts := result.get(key), list) and len(parts) > MOST_PARTS for key in _PARTS)


def with_nameless(result: dict[str, Any]) -> dict[str, Any]:
    """Give a list with the entries that cannot be read replaced by some without a name, which say why."""
    for key, (kind, stub) in _LISTS.items():
        if isinstance(entries := result.get(key), list):
            readable = [_readable(entry, kind, stub) for entry in entries]
            if any(after is not before for after, before in zip(readable, entries, strict=True)):
                result = {**result, key: readable}
    return result


def _readable(entry: Any, kind: type[BaseModel], stub: dict[str, Any]) -> Any:
    try:
        kind.model_validate(entry, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or kind.__name__.lower()
        return {**stub, "description": f"{where}: {first['msg']}"}
    return entry
