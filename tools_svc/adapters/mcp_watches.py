"""The resources of a connected MCP server that somebody follows."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import mcp_types as types
import structlog
from anyio.abc import TaskGroup
from mcp.client import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from threadmesh.errors import MeshError, ToolConnectionLost, ToolServerUnavailable, Unsupported
from tools_svc.adapters.mcp_errors import SDK_ERRORS, translated
from tools_svc.adapters.mcp_raw import Raw

log = structlog.get_logger()

_SECONDS = 10.0
_AGAIN_SECONDS = 1.0


class McpWatches:
    """What a client after its handshake follows. Its requests run in `tasks`, as the connection's calls do."""

    def __init__(self, client: Client, tasks: TaskGroup, *, server: str) -> None:
        self._client = client
        self._tasks = tasks
        self._server = server
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._over = False

    def updated(self, uri: str) -> None:
        """Take note that a resource has changed; a part of one that is followed counts as that one."""
        for followed, listeners in self._listeners.items():
            if uri == followed or uri.startswith(followed.rstrip("/") + "/"):
                for changed in listeners:
                    changed.set()

    def end(self) -> None:
        """Let everybody who follows go on to the next connection: this one has ended."""
        self._over = True
        for listeners in self._listeners.values():
            for changed in listeners:
                changed.set()

    async def follow(self, uri: str) -> AsyncGenerator[str, None]:
        """Give the URI once the server tells of its changes, then at each; ends with the connection.

        Raises `Unsupported` for a server that tells of none, and the errors of a call.
        """
        resources = self._client.server_capabilities.resources
        if resources is None or not resources.subscribe:
            raise Unsupported(f"The tool server {self._server} does not tell when its resources change.")
        changed, scope = asyncio.Event(), anyio.CancelScope()
        self._listeners.setdefault(uri, set()).add(changed)
        try:
            await self._subscribed(uri, changed, scope)
            while not self._over:
                yield uri
                await changed.wait()
                changed.clear()
        finally:
            scope.cancel()
            self._leave(uri, changed)

    async def _subscribed(self, uri: str, changed: asyncio.Event, scope: anyio.CancelScope) -> None:
        """Subscribe in a task of the connection, whose end must be an error here and no cancellation."""
        answer: asyncio.Future[MeshError | None] = asyncio.get_running_loop().create_future()
        modern = self._client.protocol_version in MODERN_PROTOCOL_VERSIONS
        try:
            self._tasks.start_soon(self._listen if modern else self._subscribe, uri, changed, scope, answer)
        except RuntimeError as error:
            # The connection has just ended.
            raise ToolServerUnavailable(server=self._server) from error
        if (given := await answer) is not None:
            raise given

    async def _subscribe(
        self, uri: str, _: asyncio.Event, scope: anyio.CancelScope, answer: "asyncio.Future[MeshError | None]"
    ) -> None:
        given: MeshError | None = ToolConnectionLost()
        try:
            with scope:
                request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
                await self._client.session.send_request(request, Raw, request_read_timeout_seconds=_SECONDS)
                given = None
        except SDK_ERRORS as error:
            given = translated(error)
        finally:
            _settle(answer, given)

    async def _listen(
        self, uri: str, changed: asyncio.Event, scope: anyio.CancelScope, answer: "asyncio.Future[MeshError | None]"
    ) -> None:
        given: MeshError | None = ToolConnectionLost()
        try:
            with scope:
                while True:
                    try:
                        async with self._client.listen(resource_subscriptions=[uri]) as subscription:
                            _settle(answer, None)
                            async for _ in subscription:
                                changed.set()
                    except SubscriptionLost as error:
                        log.info("tool_server.subscription_lost", server=self._server, error=str(error))
                    await anyio.sleep(_AGAIN_SECONDS)
                    changed.set()
        except SDK_ERRORS as error:
            given = translated(error)
        finally:
            _settle(answer, given)

    def _leave(self, uri: str, changed: asyncio.Event) -> None:
        listeners = self._listeners[uri]
        listeners.discard(changed)
        if listeners:
            return
        del self._listeners[uri]
        if not self._over and self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            with suppress(RuntimeError):  # the connection has just ended
                self._tasks.start_soon(self._unsubscribe, uri)

    async def _unsubscribe(self, uri: str) -> None:
        request = types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri))
        try:
            await self._client.session.send_request(request, Raw, request_read_timeout_seconds=_SECONDS)
        except SDK_ERRORS as error:
            log.info("tool_server.unsubscribe_failed", server=self._server, error=str(translated(error)))


def _settle(answer: "asyncio.Future[MeshError | None]", given: MeshError | None) -> None:
    if not answer.done():
        answer.set_result(given)
