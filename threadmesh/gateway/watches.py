"""The resources that clients of the gateway follow."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from threadmesh.errors import Internal, MeshError, ResourceNotFound
from threadmesh.gateway.port import ToolsService
from threadmesh.gateway.uris import own_uri

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Held:
    answer: "asyncio.Future[MeshError | None]"
    following: asyncio.Task[None]
    clients: int = 0


class Watches:
    """Follows each resource once, however many clients want it, for as long as one of them does."""

    def __init__(self, tools: ToolsService, *, on_change: Callable[[str], Awaitable[None]]) -> None:
        """`on_change` hears of each change, by the gateway's URI."""
        self._tools = tools
        self._on_change = on_change
        self._held: dict[str, _Held] = {}

    async def hold(self, uri: str) -> None:
        """Follow a resource; whoever holds it calls `release`. Raises the `MeshError` for which it cannot be."""
        held = self._held.get(uri)
        if held is None:
            answer: asyncio.Future[MeshError | None] = asyncio.get_running_loop().create_future()
            following = asyncio.create_task(self._follow(uri, answer), name=f"watching:{uri[:64]}")
            held = self._held[uri] = _Held(answer=answer, following=following)
        held.clients += 1
        try:
            error = await asyncio.shield(held.answer)
        except asyncio.CancelledError:
            self.release(uri)
            raise
        if error is not None:
            self.release(uri)
            raise error

    def release(self, uri: str) -> None:
        """Follow it no longer on behalf of one client."""
        held = self._held[uri]
        held.clients -= 1
        if not held.clients:
            del self._held[uri]
            held.following.cancel()

    async def _follow(self, uri: str, answer: "asyncio.Future[MeshError | None]") -> None:
        given: MeshError = Internal()
        try:
            found = own_uri(uri)
            if found is None:
                raise ResourceNotFound("The URIs of resources begin with threadmesh:<server>: here.")
            async with aclosing(self._tools.watch(*found)) as changes:
                async for _ in changes:
                    if answer.done():
                        await self._on_change(uri)
                    else:
                        answer.set_result(None)
        except MeshError as error:
            given = error
            log.info("gateway.watch_ended", uri=uri[:200], reason=error.reason)
        finally:
            if not answer.done():
                answer.set_result(given)
