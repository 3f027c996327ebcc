"""Tools that are functions of this process: the fake twin of an MCP server, and the shortest source there is."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

from threadmesh.conversation import CallProgress, Failure
from threadmesh.errors import MeshError, ToolServerUnavailable
from tools_svc.domain.call import Invocation, Sent, ToolOutput, Update
from tools_svc.domain.latest import Latest
from tools_svc.domain.tool import OfferedTool, ServerState, ServerStatus

Report = Callable[[CallProgress], None]
Handler = Callable[[Invocation, Report], Awaitable[ToolOutput]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTool:
    """A tool and the function that runs it, which may report progress and raise a `MeshError`."""

    offer: OfferedTool
    run: Handler


class MemorySource:
    """A `ToolSource` of functions."""

    def __init__(self, name: str, tools: Mapping[str, MemoryTool]) -> None:
        self.name = name
        self._tools = dict(tools)
        self._status = Latest(ServerStatus(state=ServerState.READY, tools=self._offers()))

    @property
    def status(self) -> ServerStatus:
        """The present status."""
        return self._status.value

    async def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        async with aclosing(self._status.states()) as states:
            async for _, status in states:
                yield status

    def offer(self, tools: Mapping[str, MemoryTool]) -> None:
        """Offer these tools from now on."""
        self._tools = dict(tools)
        self._status.set(ServerStatus(state=ServerState.READY, tools=self._offers()))

    def fail(self, error: MeshError) -> None:
        """Be unavailable from now on."""
        failure = Failure.of(error)
        self._status.set(ServerStatus(state=ServerState.UNAVAILABLE, failure=failure, tools=self._offers()))

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call, as `ToolSource.call` promises."""
        if self.status.state is not ServerState.READY:
            raise ToolServerUnavailable(server=self.name)
        news: asyncio.Queue[CallProgress | None] = asyncio.Queue()
        running = asyncio.ensure_future(self._tools[invocation.tool].run(invocation, news.put_nowait))
        running.add_done_callback(lambda _: news.put_nowait(None))
        try:
            yield Sent()
            while (progress := await news.get()) is not None:
                yield progress
            yield await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, MeshError):
                await running

    def _offers(self) -> tuple[OfferedTool, ...]:
        return tuple(tool.offer for tool in self._tools.values())
