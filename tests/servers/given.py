"""Tool servers and sources as tests need them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from threadmesh.clock import SystemClock
from tools_svc.adapters.backoff import Backoff
from tools_svc.adapters.mcp_http import http_transport
from tools_svc.adapters.mcp_mending import mending
from tools_svc.adapters.mcp_notifications import Announcements
from tools_svc.adapters.mcp_questions import NOTHING, Allowed
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.mcp_sse import sse_transport
from tools_svc.adapters.mcp_stdio import stdio_transport
from tools_svc.adapters.server_config import HttpServer, SseServer, StdioServer
from tools_svc.domain.call import Invocation, ToolOutput, Update
from tools_svc.domain.library import Library
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.tool import ServerState, ServerStatus

HERE = Path(__file__).parent
WORKSHOP = str(HERE / "workshop.py")
CROOKED = str(HERE / "crooked.py")
ASKING = str(HERE / "asking.py")
QUESTIONER = str(HERE / "questioner.py")
TASK_KEEPER = str(HERE / "task_keeper.py")
NOTICEBOARD = str(HERE / "noticeboard.py")
LIBRARIAN = str(HERE / "librarian.py")
VERBOSE = str(HERE / "verbose.py")
DISCORD_BOT = str(HERE / "discord_bot.py")
SOON = Backoff(first=0.01, most=0.05, stable=3600)


def stdio_source(script: str, *args: str, **options: Any) -> McpSource:
    """Make a source over a script's standard streams."""
    server = StdioServer(command=sys.executable, args=(script, *args))
    return mcp_source(server, **options)


def mcp_source(
    server: StdioServer | HttpServer | SseServer,
    *,
    name: str = "workshop",
    connect_seconds: float = 20,
    quirks: tuple[str, ...] = (),
    announcements: Announcements | None = None,
    allowed: Allowed = NOTHING,
) -> McpSource:
    """Make a source that reconnects soon."""

    def transport(lifeline: Any) -> Any:
        if isinstance(server, StdioServer):
            return mending(stdio_transport(name, server, lifeline), quirks, announcements)
        if isinstance(server, SseServer):
            return mending(sse_transport(name, server, lifeline), quirks, announcements)
        return mending(http_transport(server, lifeline), quirks, announcements)

    return McpSource(
        name, transport, clock=SystemClock(), connect_seconds=connect_seconds, backoff=SOON, allowed=allowed
    )


@asynccontextmanager
async def http_workshop(port: int = 0, kind: str = "http") -> AsyncIterator[tuple[str, int]]:
    """Run the workshop over streamable HTTP, or with `kind` `sse` the older way; gives its address and process id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, WORKSHOP, kind, str(port)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}", process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def running(source: McpSource, state: ServerState = ServerState.READY) -> AsyncIterator[McpSource]:
    """Run a source until the block ends; begins when it has come to `state`."""
    task = asyncio.create_task(source.run())
    try:
        await until(source, state)
        yield source
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(source: ToolSource, state: ServerState) -> ServerStatus:
    """Wait until the source is in a state."""
    async with asyncio.timeout(30):
        async for status in source.changes():
            if status.state is state:
                return status
    raise AssertionError


async def until_offered(source: ToolSource, tool: str) -> None:
    """Wait until the source offers a tool."""
    async with asyncio.timeout(30):
        async for status in source.changes():
            if any(offer.name == tool for offer in status.tools):
                return


async def until_listed(source: ToolSource, uri: str) -> Library:
    """Wait until the source lists a resource, and give all that it lists."""
    async with asyncio.timeout(30):
        async for status in source.changes():
            if any(resource.uri == uri for resource in status.library.resources):
                return status.library
    raise AssertionError


def invocation(tool: str, *, call_id: str = "call", timeout_seconds: float = 30, **arguments: Any) -> Invocation:
    """Make an invocation."""
    return Invocation(tool=tool, arguments=arguments, timeout_seconds=timeout_seconds, call_id=call_id, run_id="run")


async def updates(source: ToolSource, wanted: Invocation) -> list[Update]:
    """Run a call to its end and give all that it gave."""
    async with asyncio.timeout(30):
        return [update async for update in source.call(wanted)]


async def output(source: ToolSource, wanted: Invocation) -> ToolOutput:
    """Run a call to its end and give the tool's answer."""
    last = (await updates(source, wanted))[-1]
    assert isinstance(last, ToolOutput)
    return last
