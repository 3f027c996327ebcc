"""The tools that an MCP server lists."""

import asyncio
from typing import Any

import mcp_types as types
import structlog
from mcp.client import Client

from tools_svc.adapters.mcp_raw import MOST_NAMED, listed, readable
from tools_svc.adapters.mcp_values import offered_tool
from tools_svc.domain.tool import OfferedTool

log = structlog.get_logger()

_MOST_TOOLS = 2_000
_MOST_CHARACTERS = 1024 * 1024 + 256 * 1024
"""What the definitions of a server may have together: a little more than its shelf, which names what it leaves out."""

Listed = list[tuple[dict[str, Any], OfferedTool]]
"""Each tool as it was sent, and as it was read."""


async def listed_tools(client: Client, *, server: str) -> Listed:
    """List the tools of the server; one that cannot be read, and what is beyond the limits, is left out and logged.

    Raises the SDK's errors.
    """
    listing = await listed(client, _request, "tools", most=_MOST_TOOLS, characters=_MOST_CHARACTERS)
    if listing.cut:
        log.warning("tool_server.list_cut", server=server, list="tools", entries=listing.seen, kept=len(listing.kept))
    tools = await asyncio.to_thread(_read, listing.kept, server)
    if any("x-mcp-header" in tool.parameters_json for _, tool in tools):
        # The SDK sends such arguments as headers too, for tools that it has listed itself.
        await client.list_tools()
    return tools


def _read(entries: list[Any], server: str) -> Listed:
    tools, unreadable = readable(entries, lambda entry: (entry, offered_tool(entry)))
    if unreadable:
        log.warning("tool_server.tools_unreadable", server=server, tools=len(unreadable), why=unreadable[:MOST_NAMED])
    return tools


def _request(params: types.PaginatedRequestParams) -> types.ListToolsRequest:
    return types.ListToolsRequest(params=params)
