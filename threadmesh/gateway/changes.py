"""Tells clients that a list has changed: by subscriptions since MCP's revision 2026-07-28, unasked before."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ServerEvent,
    ToolsListChanged,
)

from threadmesh.api.tools.v1 import tools_service_pb2 as pb


class Changes:
    """The changes of a catalogue as every client that is connected hears of them; those that come together, once."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._told: set[str] = set()
        self.listen = ListenHandler(self._bus)
        """Serves `subscriptions/listen`."""

    @asynccontextmanager
    async def following(self, catalogues: AsyncGenerator[pb.Catalogue, None]) -> AsyncIterator[None]:
        """Publish what changes from one catalogue to the next while the block runs."""
        task = asyncio.create_task(self._follow(catalogues), name="gateway:changes")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def tell(self, context: ServerRequestContext[Any, Any], _: types.NotificationParams) -> None:
        """Tell the session that says it is initialized, once and for as long as it lives."""
        session = context.request.headers.get("mcp-session-id", "") if context.request else ""
        if session in self._told:
            return
        self._told.add(session)
        news: set[type[ServerEvent]] = set()
        changed = asyncio.Event()

        def hear(event: ServerEvent) -> None:
            news.add(type(event))
            changed.set()

        unsubscribe = self._bus.subscribe(hear)
        try:
            while await changed.wait():
                changed.clear()
                while news:
                    await _notify(context.session, news.pop())
        finally:
            unsubscribe()
            self._told.discard(session)

    async def _follow(self, catalogues: AsyncGenerator[pb.Catalogue, None]) -> None:
        async with aclosing(catalogues):
            before = await anext(catalogues)
            async for catalogue in catalogues:
                for event in _differences(before, catalogue):
                    await self._bus.publish(event)
                before = catalogue


async def _notify(session: ServerSession, kind: type[ServerEvent]) -> None:
    if kind is ToolsListChanged:
        await session.send_tool_list_changed()
    elif kind is ResourcesListChanged:
        await session.send_resource_list_changed()
    else:
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
