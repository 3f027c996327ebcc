"""Tools that are functions of this process: the fake twin of an MCP server, and the shortest source there is."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from threadmesh.conversation import CallProgress, Failure
from threadmesh.errors import (
    MeshError,
    PromptNotFound,
    ResourceNotFound,
    ToolConnectionLost,
    ToolInputRequired,
    ToolServerUnavailable,
)
from tools_svc.domain.call import Accepted, Asked, Invocation, Sent, ToolOutput, Update
from tools_svc.domain.latest import Latest
from tools_svc.domain.library import FilledPrompt, Library, ResourceContent
from tools_svc.domain.tool import OfferedTool, ServerState, ServerStatus

Report = Callable[[CallProgress | Asked], None]
Handler = Callable[[Invocation, Report], Awaitable[ToolOutput | Asked]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTool:
    """A tool and the function that runs it, which may report progress, ask, and raise a `MeshError`.

    The source keeps calls of one that `keeps` them: they go on when nobody follows them.
    """

    offer: OfferedTool
    run: Handler
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryShelf:
    """What can be read besides: resources by URI, and prompts with the functions that fill them in."""

    library: Library = Library()
    contents: Mapping[str, tuple[ResourceContent, ...]] = field(default_factory=dict)
    prompts: Mapping[str, Callable[[Mapping[str, str]], FilledPrompt]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    work: asyncio.Future[ToolOutput | Asked]
    news: asyncio.Queue[CallProgress | Asked | None]


class MemorySource:
    """A `ToolSource` of functions."""

    def __init__(self, name: str, tools: Mapping[str, MemoryTool], shelf: MemoryShelf | None = None) -> None:
        self.name = name
        self._tools = dict(tools)
        self._shelf = shelf or MemoryShelf()
        self._status = Latest(self._ready())
        self._amended: dict[str, Latest[str]] = {}
        self._kept: dict[str, _Running] = {}

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
        self._status.set(self._ready())

    def stock(self, shelf: MemoryShelf) -> None:
        """Offer this to read from now on."""
        self._shelf = shelf
        self._status.set(self._ready())

    def fail(self, error: MeshError) -> None:
        """Be unavailable from now on."""
        failure = Failure.of(error)
        self._status.set(ServerStatus(state=ServerState.UNAVAILABLE, failure=failure, tools=self._offers()))

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call, as `ToolSource.call` promises."""
        self._check_ready()
        if not invocation.handle:
            self.status.require(invocation.tool, invocation.definition_hash)
        tool = self._tools[invocation.tool]
        running = self._running(tool, invocation)
        try:
            if not invocation.handle:
                yield Sent()
            if tool.keeps:
                yield Accepted(handle=invocation.handle or invocation.call_id)
            while (news := await running.news.get()) is not None:
                yield _permitted(news, invocation)
            yield _permitted(await running.work, invocation)
        finally:
            if not tool.keeps or invocation.given_up():
                running.work.cancel()
                with suppress(asyncio.CancelledError, MeshError):
                    await running.work

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource."""
        self._check_ready()
        if uri not in self._shelf.contents:
            raise ResourceNotFound(server=self.name, uri=uri)
        return self._shelf.contents[uri]

    async def watch(self, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource."""
        self._check_ready()
        async with aclosing(self._amended.setdefault(uri, Latest(uri)).states()) as states:
            async for _, changed in states:
                yield changed

    def amend(self, uri: str) -> None:
        """Tell those who follow a resource that it has changed."""
        self._amended.setdefault(uri, Latest(uri)).set(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt."""
        self._check_ready()
        if name not in self._shelf.prompts:
            raise PromptNotFound(prompt=name)
        return self._shelf.prompts[name](arguments)

    def _running(self, tool: MemoryTool, invocation: Invocation) -> "_Running":
        if invocation.handle:
            if invocation.handle not in self._kept:
                raise ToolConnectionLost
            return self._kept[invocation.handle]
        news: asyncio.Queue[CallProgress | Asked | None] = asyncio.Queue()
        work = asyncio.ensure_future(tool.run(invocation, news.put_nowait))
        work.add_done_callback(lambda _: news.put_nowait(None))
        running = _Running(work=work, news=news)
        if tool.keeps:
            self._kept[invocation.call_id] = running
        return running

    def _check_ready(self) -> None:
        if self.status.state is not ServerState.READY:
            raise ToolServerUnavailable(server=self.name)

    def _ready(self) -> ServerStatus:
        return ServerStatus(state=ServerState.READY, tools=self._offers(), library=self._shelf.library)

    def _offers(self) -> tuple[OfferedTool, ...]:
        return tuple(tool.offer for tool in self._tools.values())


def _permitted(update: Update, invocation: Invocation) -> Update:
    if isinstance(update, Asked) and not invocation.may_ask:
        raise ToolInputRequired
    return update
