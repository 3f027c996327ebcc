"""An MCP server over the functions of one file: `python -m tools_svc.adapters.function_server /path/of/tools.py`.

tools_svc runs it as a child process, so a function that crashes or hangs costs its own calls only. What functions print
goes to the standard error, and so into the log of tools_svc.
"""

import asyncio
import importlib.util
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent

from threadmesh.tools import effect_of
from tools_svc.adapters.function_result import sendable
from tools_svc.adapters.function_tool import FunctionRefused, FunctionTool, function_tool

Send = Callable[[float, float | None, str | None], Awaitable[None]]


def load(path: Path) -> dict[str, FunctionTool]:
    """Give the tools of a file, by name, also those that it imports; modules beside it can be imported.

    Raises `FunctionRefused`, and whatever the file itself raises.
    """
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    # Not by the loader: it takes what was compiled in the same second of a file of the same length.
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102  # the operator's own file
    tools: dict[str, FunctionTool] = {}
    for each in _tools(vars(module)):
        if tools.setdefault(each.definition.name, each) is not each:
            raise FunctionRefused(f"{path}:1: {each.definition.name}: two functions have this name")
    if not tools:
        raise FunctionRefused(f"{path}:1: file: it marks no function with @tool")
    return tools


def _tools(names: Mapping[str, Any]) -> Iterator[FunctionTool]:
    for value in {id(each): each for each in names.values()}.values():
        if (effect := effect_of(value)) is not None:
            yield function_tool(value, effect)


async def serve(tools: Mapping[str, FunctionTool]) -> None:
    """Serve the tools on the standard streams until the input ends."""

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[each.definition for each in tools.values()])

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        if (wanted := tools.get(params.name)) is None:
            return CallToolResult(content=[TextContent(text="There is no such tool.")], is_error=True)
        async with reporting(context.session.report_progress) as progress:
            return await wanted.call(params.arguments or {}, progress)

    server = Server("functions", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class Reporter:
    """A `Progress` that sends the newest of what is told, one at a time."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._news: tuple[float, float | None, str | None] | None = None
        self._told = asyncio.Event()
        self._sending = asyncio.Lock()

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Take note, in whatever thread."""
        self._news = (done, total, sendable(message) or None)
        self._loop.call_soon_threadsafe(self._told.set)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._told.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send what has not been sent, after what is being sent."""
        async with self._sending:
            self._told.clear()
            news, self._news = self._news, None
            if news is not None:
                await self._send(*news)


@asynccontextmanager
async def reporting(send: Send) -> AsyncIterator[Reporter]:
    """Give a reporter whose news is sent beside the block, the last of it before the block is left."""
    reporter = Reporter(send)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reporter.run)
        yield reporter
        await reporter.flush()
        tasks.cancel_scope.cancel()


def main() -> None:
    """Serve the file that the command line names; ends with status 1 when it cannot be loaded."""
    try:
        tools = load(Path(sys.argv[1]))
    except FunctionRefused as refused:
        sys.exit(str(refused))
    except Exception:  # noqa: BLE001  # the operator's file may raise anything
        traceback.print_exc(file=sys.stderr)
        sys.exit(1)
    anyio.run(serve, tools)


if __name__ == "__main__":
    main()
