"""Tells clients that a list has changed: by subscriptions since MCP's revision 2026-07-28, unasked before."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ServerEvent, ToolsListChanged

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
                if _tools(catalogue) != _tools(before):
                    await self._bus.publish(ToolsListChanged())
                before = catalogue


async def _notify(session: ServerSession, kind: type[ServerEvent]) -> None:
    if kind is ToolsListChanged:
        await session.send_tool_list_changed()


def _tools(catalogue: pb.Catalogue) -> list[bytes]:
    return [tool.SerializeToString(deterministic=True) for tool in catalogue.tools]
