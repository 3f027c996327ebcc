"""`/v1/tools`: what the mesh's own tools are, for clients that speak no gRPC."""

import json
from typing import Any

from fastapi import APIRouter

from facade.domain.offer import ApprovalRule, Held, Tool, ToolServer
from facade.domain.ports import Tools
from facade.edge.answers.tools import ToolList
from facade.edge.openapi import answer

_SAID = (
    "title",
    "description",
    "parameters",
    "effect",
    "requires_approval",
    "approval",
    "untrusted",
    "queued",
    "definition_hash",
)


def router(tools: Tools) -> APIRouter:
    """Make the route."""
    routes = APIRouter(prefix="/v1/tools", tags=["tools"])

    @routes.get("", summary="List the tools that the mesh runs, and their servers", responses=answer(ToolList))
    async def listed() -> dict[str, Any]:
        offer = await tools.offer()
        shown = [
            *(_tool(tool, status="ready") for tool in offer.tools),
            *(_tool(tool, status="away") for tool in offer.away),
            *map(_held, offer.held),
        ]
        return {
            "object": "list",
            "data": sorted(shown, key=lambda each: str(each["id"])),
            "servers": list(map(_server, offer.servers)),
        }

    return routes


def _tool(tool: Tool, *, status: str) -> dict[str, Any]:
    schema = tool.definition.parameters_json
    return {
        "id": tool.definition.name,
        "object": "threadmesh.tool",
        "server": tool.server,
        "status": status,
        "title": tool.title or None,
        "description": tool.definition.description or None,
        "parameters": json.loads(schema) if schema else {"type": "object"},
        "effect": tool.effect,
        "requires_approval": tool.approval is not ApprovalRule.NEVER,
        "approval": tool.approval.value,
        "untrusted": tool.untrusted,
        "queued": tool.queued,
        "definition_hash": tool.definition_hash or None,
    }


def _held(held: Held) -> dict[str, Any]:
    """Give a tool that is held back: nothing that its server says of it is told before somebody has looked at it."""
    unsaid = dict.fromkeys(_SAID)
    return {"id": held.name, "object": "threadmesh.tool", "server": held.server, "status": "held_back", **unsaid}


def _server(server: ToolServer) -> dict[str, Any]:
    return {
        "id": server.name,
        "object": "threadmesh.tool_server",
        "status": server.state.value,
        "resting": server.resting,
    }
