"""The key `capabilities` of the servers file: what several tools can do alike.

A capability has a `description` and the schema of its `parameters`, as a model is told, and `tools`: names in the
catalogue, or objects with `tool`, `preference` (lower comes first), `arguments` (the tool's names for arguments, by
those of the capability) and `fixed` (arguments that are always the same).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tools_svc.adapters import located_json
from tools_svc.domain.capability import Alternative, Capability
from tools_svc.domain.naming import CAPABILITIES, server_of

Complaint = tuple[located_json.Path, str]

_NAME = re.compile(r"[a-zA-Z0-9-]+(_[a-zA-Z0-9-]+)*")
_LONGEST_NAME = 48
_KEYS = {"description", "parameters", "tools"}
_TOOL_KEYS = {"tool", "preference", "arguments", "fixed"}


def check(value: Any, servers: Any) -> Iterator[Complaint]:
    """Complain about what is not an object of capabilities over tools of these servers."""
    if not isinstance(value, dict):
        yield (), "it must be an object of capabilities by their names"
        return
    for name, raw in value.items():
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            yield (name,), "a capability's name is made of letters, digits, '-' and single inner '_', at most 48"
        if isinstance(raw, dict):
            yield from (((name, *inner), reason) for inner, reason in _complaints(raw, servers))
        else:
            yield (name,), "it must be an object"


def capabilities(value: dict[str, Any]) -> tuple[Capability, ...]:
    """Give the capabilities of an object without complaints."""
    return tuple(
        Capability(
            name=name,
            description=raw["description"],
            parameters_json=json.dumps(raw["parameters"], ensure_ascii=False, separators=(",", ":")),
            alternatives=tuple(map(_alternative, raw["tools"])),
        )
        for name, raw in value.items()
    )


def _complaints(raw: dict[str, Any], servers: Any) -> Iterator[Complaint]:
    yield from (((key,), "no such key") for key in raw if key not in _KEYS)
    if not isinstance(raw.get("description"), str) or not raw["description"]:
        yield ("description",), "it must tell a model what can be done"
    parameters = raw.get("parameters")
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        yield ("parameters",), "it must be a JSON Schema of type object"
    tools = raw.get("tools")
    if not isinstance(tools, list) or not tools:
        yield ("tools",), "it must be a list of tools"
        return
    for index, each in enumerate(tools):
        yield from ((("tools", index, *inner), reason) for inner, reason in _tool_complaints(each, servers))


def _tool_complaints(raw: Any, servers: Any) -> Iterator[Complaint]:
    told = {"tool": raw} if isinstance(raw, str) else raw
    if not isinstance(told, dict):
        yield (), "it must be a tool's name or an object"
        return
    yield from (((key,), "no such key") for key in told if key not in _TOOL_KEYS)
    tool = told.get("tool")
    if not isinstance(tool, str) or server_of(tool) in {"", CAPABILITIES} or server_of(tool) not in servers:
        yield ("tool",), "it must be a tool of a server of this file, as in the catalogue: <server>__<tool>"
    preference = told.get("preference", 0)
    if not isinstance(preference, int) or isinstance(preference, bool):
        yield ("preference",), "it must be a whole number"
    arguments = told.get("arguments", {})
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments.values()):
        yield ("arguments",), "it must be an object: the tool's name for each argument"
    if not isinstance(told.get("fixed", {}), dict):
        yield ("fixed",), "it must be an object"


def _alternative(raw: Any) -> Alternative:
    told: dict[str, Any] = {"tool": raw} if isinstance(raw, str) else raw
    return Alternative(
        tool=told["tool"],
        preference=told.get("preference", 0),
        arguments=told.get("arguments", {}),
        fixed=told.get("fixed", {}),
    )
