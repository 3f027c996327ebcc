"""A tool server for tests, with a tool for every way a call can go: `workshop.py stdio|http|sse [<port>]`."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources import TextResource
from mcp.types import AudioContent, CallToolResult, ImageContent, ResourceLink, TextContent, ToolAnnotations

server = MCPServer("workshop")
arrivals: Counter[str] = Counter()
"""How often each tool that counts was called."""
changed = asyncio.Condition()
opened: set[str] = set()
cancelled: dict[str, asyncio.Event] = {}


@server.tool()
async def echo(value: Any, count: int = 1, note: str | None = None) -> CallToolResult:
    """Give the arguments back."""
    return CallToolResult(
        content=[TextContent(text="echo")], structured_content={"value": value, "count": count, "note": note}
    )


@server.tool()
async def meta(ctx: Context[Any, Any]) -> CallToolResult:
    """Give what came with the call."""
    about = ("threadmesh/", "traceparent")  # and not what the SDKs tell each other
    sent = {key: value for key, value in (ctx.request_context.meta or {}).items() if key.startswith(about)}
    return CallToolResult(content=[], structured_content=sent)


@server.tool(annotations=ToolAnnotations(open_world_hint=True))
async def environment() -> list[str]:
    """Give the names of the environment variables."""
    return sorted(os.environ)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def pid() -> int:
    """Give the process id."""
    return os.getpid()


@server.tool()
async def fail(why: str) -> str:
    """Report an error."""
    raise ToolError(why)


@server.tool()
async def meet(place: str, parties: int) -> str:
    """Return only when so many calls are here at once."""
    async with changed:
        arrivals[place] += 1
        changed.notify_all()
        await changed.wait_for(lambda: arrivals[place] >= parties)
    return "met"


@server.tool()
async def gate(name: str, ctx: Context[Any, Any]) -> str:
    """Report progress, then wait until the gate is opened."""
    await ctx.report_progress(1, 2, "waiting")
    try:
        async with changed:
            await changed.wait_for(lambda: name in opened)
    except asyncio.CancelledError:
        cancelled.setdefault(name, asyncio.Event()).set()
        raise
    return "passed"


@server.tool()
async def open_gate(name: str) -> str:
    """Open a gate."""
    async with changed:
        opened.add(name)
        changed.notify_all()
    return "opened"


@server.tool()
async def was_cancelled(name: str) -> str:
    """Return once the call that waits at the gate has been cancelled."""
    await cancelled.setdefault(name, asyncio.Event()).wait()
    return "cancelled"


@server.tool()
async def work(steps: int, ctx: Context[Any, Any]) -> str:
    """Report each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return "done"


@server.tool()
async def big(size: int) -> str:
    """Give a long text."""
    return "x" * size


@server.tool()
async def die(ledger: str) -> str:
    """Write a line to the ledger and end the process in the middle of the call."""
    with open(ledger, "a") as lines:  # noqa: ASYNC230, PTH123
        lines.write("died\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool()
async def die_once(ledger: str) -> str:
    """End the process in the first call, answer the second."""
    with open(ledger, "a+") as lines:  # noqa: ASYNC230, PTH123
        lines.write("called\n")
        lines.seek(0)
        first = len(lines.readlines()) == 1
    if first:
        lines.close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@server.tool()
async def show() -> CallToolResult:
    """Give a picture, a sound and a link."""
    return CallToolResult(
        content=[
            ImageContent(data="AAEC", mime_type="image/png"),
            AudioContent(data="AwQ=", mime_type="audio/wav"),
            ResourceLink(name="manual", uri="https://example.com/manual"),
        ]
    )


@server.tool()
async def grow(name: str, ctx: Context[Any, Any]) -> str:
    """Offer one tool more from now on."""
    server.add_tool(_grown, name=name)
    await ctx.notify_tools_changed()
    return "grown"


@server.tool()
async def stock(name: str, ctx: Context[Any, Any]) -> str:
    """Offer one resource and one prompt more from now on."""
    server.add_resource(TextResource(uri=f"note://{name}", name=name, text="new"))
    server.add_prompt(Prompt.from_function(_stocked, name=name))
    await ctx.notify_resources_changed()
    await ctx.notify_prompts_changed()
    return "stocked"


@server.tool()
async def amend(uri: str, ctx: Context[Any, Any]) -> str:
    """Tell that a resource has changed."""
    await ctx.notify_resource_updated(uri)
    return "amended"


@server.resource(
    "note://rules", name="rules", title="The rules", description="What holds here.", mime_type="text/plain"
)
async def rules() -> str:
    """Give a text."""
    return "Wear goggles. ü😀"


@server.resource("note://picture", name="picture", mime_type="image/png")
async def picture() -> bytes:
    """Give bytes."""
    return bytes(range(256))


@server.resource("note://big", name="big")
async def big_note() -> str:
    """Give more than fits a message."""
    return "x" * 4_150_000


@server.resource("note://slow", name="slow")
async def slow_note() -> str:
    """Give nothing, ever."""
    await asyncio.Event().wait()
    return ""


@server.resource("note://shelf/{number}", name="shelf")
async def shelf(number: str) -> str:
    """Give what is on a shelf."""
    return f"shelf {number}"


@server.prompt(title="Explain", description="Explains a tool.")
async def explain(tool: str, tone: str = "plain") -> str:
    """Give words."""
    return f"Explain {tool} in a {tone} tone."


@server.tool(name="an odd name/with signs")
async def odd() -> str:
    """Have a name that no model API takes."""
    return "odd"


async def _stocked() -> str:
    """Give a word."""
    return "new"


async def _grown() -> str:
    """Give a word."""
    return "new"


async def _serve_http(kind: str, port: int) -> None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    print(listening.getsockname()[1], flush=True)  # noqa: T201  # tells the test where it listens
    app = server.sse_app() if kind == "sse" else server.streamable_http_app()
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        asyncio.run(_serve_http(sys.argv[1], int(sys.argv[2])))
