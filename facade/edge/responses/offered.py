"""The tools of a request: the client's own functions, and those of the mesh's servers that it names."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from facade.domain.offer import Offer, Tool
from facade.domain.parameters import ServerTools
from facade.edge.chat.schemas import canonical
from facade.edge.invalid import SHOWN
from facade.edge.responses import schemas
from facade.edge.responses.names import joined_tool
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.tool_choice import names_server
from threadmesh.conversation import ToolDefinition
from threadmesh.errors import InvalidArgument


def needs_catalogue(request: ResponseRequest) -> bool:
    """Say whether it names servers of the mesh."""
    return names_server(request.tool_choice) or any(isinstance(tool, schemas.McpTool) for tool in request.tools or ())


def offered_tools(request: ResponseRequest, offer: Offer) -> dict[str, list[Tool]]:
    """Choose the tools of each server that the request names.

    Raises `InvalidArgument` for what is not there, `ToolServerUnavailable` for a server whose tools nobody has seen,
    and `ToolDefinitionChanged` for one that is named and held back.
    """
    offered: dict[str, list[Tool]] = {}
    for index, wanted in enumerate(request.tools or ()):
        if not isinstance(wanted, schemas.McpTool):
            continue
        label, field = wanted.server_label, f"tools[{index}].server_label"
        there = {_short(tool): tool for tool in offer.known.values() if tool.server == label}
        if not there:
            offer.require_server(label)
            shown = label[:SHOWN]
            raise InvalidArgument(f"There is no server {shown} with tools now; GET /v1/tools lists them.", field=field)
        allowed = wanted.allowed_tools
        names = allowed.tool_names if isinstance(allowed, schemas.ToolFilter) else allowed
        if missing := sorted(set(names or ()) - set(there)):
            field = f"tools[{index}].allowed_tools"
            offer.require(joined_tool(label, missing[0]))
            raise InvalidArgument(f"The server {label[:SHOWN]} has no tool {missing[0][:SHOWN]}.", field=field)
        offered[label] = [tool for name, tool in there.items() if names is None or name in names]
    return offered


def asking_tools(request: ResponseRequest, offered: Mapping[str, Sequence[Tool]]) -> tuple[str, ...]:
    """Name the tools that the request wants a person to approve before they are called."""
    servers = [tool for tool in request.tools or () if isinstance(tool, schemas.McpTool)]
    return tuple(
        tool.definition.name
        for server in servers
        for tool in offered[server.server_label]
        if server.needs_approval(_short(tool))
    )


def server_tools(control: str, offered: Mapping[str, Sequence[Tool]]) -> ServerTools:
    """Give the tools that the model may call: those of the servers named, and those of the controls."""
    named = tuple(tool.definition.name for tools in offered.values() for tool in tools)
    said = ServerTools.parse(control)
    return said if said.everything else ServerTools(names=tuple(dict.fromkeys((*said.names, *named))))


def function(tool: schemas.FunctionTool) -> ToolDefinition:
    """Give a function of the client as models are told of it."""
    return ToolDefinition(
        name=tool.name,
        description=tool.description or "",
        parameters_json=canonical(tool.parameters) if tool.parameters else "",
        strict=bool(tool.strict),
    )


def told(tool: Tool) -> dict[str, Any]:
    """Describe a tool of a server as a response lists it."""
    schema = tool.definition.parameters_json
    return {
        "name": _short(tool),
        "description": tool.definition.description or None,
        "input_schema": json.loads(schema) if schema else {"type": "object"},
        "annotations": None,
    }


def _short(tool: Tool) -> str:
    return tool.definition.name.removeprefix(f"{tool.server}__")
