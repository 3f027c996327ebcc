"""Tells clients that a list or a resource has changed: by subscriptions since MCP's 2026-07-28, by sessions before."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.errors import MeshError
from threadmesh.gateway.failures import as_mcp_errors
from threadmesh.gateway.port import ToolsService
from threadmesh.gateway.watches import Watches

Context = ServerRequestContext[Any, Any]

_MOST_OF_A_SESSION = 256


class Changes:
    """The changes of a catalogue as every client that is connected hears of them; those that come together, once.

    Of the changes of single resources, each hears of those that it follows.
    """

    def __init__(self, tools: ToolsService) -> None:
        self._bus = InMemorySubscriptionBus()
        self._told: dict[str, set[str]] = {}
        self._handler = ListenHandler(self._bus)
        self._watches = Watches(tools, on_change=lambda uri: self._bus.publish(ResourceUpdated(uri=uri)))

    def close(self) -> None:
        """End the streams by which clients follow changes."""
        self._handler.close()

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve `subscriptions/listen`. A resource that cannot be followed never changes, as the protocol wants it."""
        held = []
        try:
            for uri in dict.fromkeys(params.notifications.resource_subscriptions or ()):
                with suppress(MeshError):
                    await self._watches.hold(uri)
                    held.append(uri)
            return await self._handler(context, params)
        finally:
            for uri in held:
                self._watches.release(uri)

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Let a session of an older revision follow a resource."""
        followed = self._told.get(_session(context))
        if followed is None:
            raise MCPError(types.INVALID_REQUEST, "Only a session that is initialized can follow resources.")
        if params.uri not in followed:
            if len(followed) >= _MOST_OF_A_SESSION:
                raise MCPError(types.INVALID_REQUEST, f"A session follows at most {_MOST_OF_A_SESSION} resources.")
            followed.add(params.uri)
            try:
                with as_mcp_errors():
                    await self._watches.hold(params.uri)
            except BaseException:
                followed.discard(params.uri)
                raise
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Let a session follow a resource no longer."""
        followed = self._told.get(_session(context), set())
        if params.uri in followed:
            followed.discard(params.uri)
            self._watches.release(params.uri)
        return types.EmptyResult()

    @asynccontextmanager
    async def following(self, catalogues: AsyncGenerator[pb.Catalogue, None]) -> AsyncIterator[None]:
        """Publish what changes from one catalogue to the next while the block runs."""
        task = asyncio.create_task(self._follow(catalogues), name="gateway:changes")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def tell(self, context: Context, _: types.NotificationParams) -> None:
        """Tell the session that says it is initialized, once and for as long as it lives."""
        session = _session(context)
        if session in self._told:
            return
        followed = self._told[session] = set()
        news: set[ServerEvent] = set()
        changed = asyncio.Event()

        def hear(event: ServerEvent) -> None:
            if not isinstance(event, ResourceUpdated) or event.uri in followed:
                news.add(event)
                changed.set()

        unsubscribe = self._bus.subscribe(hear)
        try:
            while await changed.wait():
                changed.clear()
                while news:
                    await _notify(context.session, news.pop())
        finally:
            unsubscribe()
            del self._told[session]
            for uri in followed:
                self._watches.release(uri)

    async def _follow(self, catalogues: AsyncGenerator[pb.Catalogue, None]) -> None:
        async with aclosing(catalogues):
            before = await anext(catalogues)
            async for catalogue in catalogues:
                for event in _differences(before, catalogue):
                    await self._bus.publish(event)
                before = catalogue


def _session(context: Context) -> str:
    return context.request.headers.get("mcp-session-id", "") if context.request else ""


async def _notify(session: ServerSession, event: ServerEvent) -> None:
    match event:
        case ToolsListChanged():
            await session.send_tool_list_changed()
        case ResourcesListChanged():
            await session.send_resource_list_changed()
        case ResourceUpdated(uri=uri):
            await session.send_resource_updated(uri)
        case _:
            await session.send_prompt_list_changed()


def _differences(before: pb.Catalogue, after: pb.Catalogue) -> Iterator[ServerEvent]:
    """Say which lists differ; a catalogue that is like the last one says that resources or prompts do."""
    if list(before.tools) != list(after.tools):
        yield ToolsListChanged()
    if before == after or _libraries(before) != _libraries(after):
        yield ResourcesListChanged()
        yield PromptsListChanged()


def _libraries(catalogue: pb.Catalogue) -> list[tuple[str, bool, int, int]]:
    return [
        (each.name, each.state == pb.SERVER_STATE_UNAVAILABLE, each.resource_count, each.prompt_count)
        for each in catalogue.servers
    ]
