"""A tool server that does next to nothing, so that what is measured around it is the mesh."""

import asyncio

from mcp.server.mcpserver import MCPServer

server = MCPServer("bench")


@server.tool()
async def echo(text: str = "") -> str:
    """Give the text back."""
    return text


@server.tool()
async def wait(seconds: float = 1.0) -> str:
    """Answer after some time."""
    await asyncio.sleep(seconds)
    return "waited"


if __name__ == "__main__":
    server.run("stdio")
