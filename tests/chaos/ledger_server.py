"""A tool server whose tools leave a line in a file each time they take effect: the line is what a call has done."""

import asyncio
import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("ledger")


@server.tool()
async def act(name: str, milliseconds: int = 0) -> str:
    """Take effect once, then take a while to answer."""
    with open(sys.argv[1], "a") as ledger:  # noqa: ASYNC230, PTH123  # what counts is that it is there
        ledger.write(f"{name}\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    await asyncio.sleep(milliseconds / 1000)
    return f"did {name}"


if __name__ == "__main__":
    server.run("stdio")
