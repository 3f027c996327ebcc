"""A stand-in for what users reach by tools: a board, a repository, a cluster, a machine. `office.py <ledger>`.

Whatever changes something leaves a line in the ledger. Long work goes on a step each time `release` is called.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("office")
items = {"paint the door": "open", "buy tea": "open", "call Ada": "done"}
changed = asyncio.Condition()
released: Counter[str] = Counter()


def note(line: str) -> None:
    """Leave a line that outlives the process."""
    with Path(sys.argv[1]).open("a") as ledger:
        ledger.write(f"{line}\n")
        ledger.flush()
        os.fsync(ledger.fileno())


async def steps(work: str, count: int, ctx: Context[Any, Any]) -> None:
    """Take as many steps as are released, and tell each."""
    for step in range(1, count + 1):
        async with changed:
            while released[work] < step:
                await changed.wait()
        await ctx.report_progress(step, count, f"{work}: step {step} of {count}")


@server.tool()
async def release(work: str) -> str:
    """Let a piece of long work take its next step."""
    async with changed:
        released[work] += 1
        changed.notify_all()
    return "released"


@server.tool()
async def board_summary() -> str:
    """Tell which items of the board are open."""
    return "open: " + ", ".join(name for name, state in items.items() if state == "open")


@server.tool()
async def update_item(item: str, state: str) -> str:
    """Set the state of an item of the board."""
    if item not in items:
        raise ToolError(f"There is no item {item!r}.")
    items[item] = state
    note(f"{item} is {state}")
    if state == "lost":  # the effect is there, and nobody hears of it
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{item} is {state} now"


@server.tool()
async def check_runs(pull_request: int) -> dict[str, Any]:
    """Tell how the checks of a pull request are."""
    return {"pull_request": pull_request, "checks": [{"name": "test", "conclusion": "success"}], "mergeable": True}


@server.tool()
async def scale_service(service: str, count: int, ctx: Context[Any, Any]) -> str:
    """Scale a service and wait until it is stable."""
    note(f"{service} scales to {count}")
    await steps(service, 3, ctx)
    return f"{service} runs {count} tasks and is stable"


@server.tool()
async def run_command(command: str, ctx: Context[Any, Any]) -> str:
    """Run a command that takes a minute."""
    note(f"ran {command}")
    await steps(command, 2, ctx)
    return f"{command}: exit status 0"


if __name__ == "__main__":
    server.run("stdio")
