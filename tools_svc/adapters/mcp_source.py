"""An MCP server as a source of tools, kept connected for as long as it is wanted."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import structlog
from mcp.client import Client, IncomingMessage, Transport
from mcp_types import (
    Implementation,
    ProgressNotification,
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    ToolListChangedNotification,
)

from threadmesh.clock import Clock
from threadmesh.conversation import Failure
from threadmesh.errors import MeshError, ToolConnectionLost, ToolServerUnavailable, Unavailable
from threadmesh.telemetry.metrics import installed_version
from tools_svc.adapters.backoff import Backoff
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_back_channel import BackChannel
from tools_svc.adapters.mcp_connection import McpConnection
from tools_svc.adapters.mcp_errors import translated
from tools_svc.adapters.mcp_forms import forms_only
from tools_svc.adapters.mcp_questions import NOTHING, Allowed
from tools_svc.domain.call import Accepted, Invocation, Update
from tools_svc.domain.latest import Latest
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.tool import ServerState, ServerStatus

log = structlog.get_logger()


class McpSource:
    """A `ToolSource` over MCP. Nothing happens before `run` runs, which connects and, after a loss, connects again.

    One task owns each connection, from its handshake to its end: the SDK's cancel scopes must be left by the task that
    entered them, and what they cancel must be nobody else.
    """

    def __init__(
        self,
        name: str,
        transport: Callable[[Lifeline], Transport],
        *,
        clock: Clock,
        connect_seconds: float = 20.0,
        backoff: Backoff | None = None,
        allowed: Allowed = NOTHING,
    ) -> None:
        """`transport` makes a transport for each new connection; it has `connect_seconds` until its tools are known.

        What the server may ask is what is `allowed`.
        """
        self.name = name
        self._transport = transport
        self._clock = clock
        self._connect_seconds = connect_seconds
        self._backoff = backoff or Backoff()
        self._allowed = allowed
        self._failures = 0
        self._given_up = False
        self._connection: McpConnection | None = None
        self._status = Latest(ServerStatus(state=ServerState.CONNECTING))

    @property
    def status(self) -> ServerStatus:
        """The present status."""
        return self._status.value

    async def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        async with aclosing(self._status.states()) as states:
            async for _, status in states:
                yield status

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call, as `ToolSource.call` promises."""
        connection = await (self._returned() if invocation.handle else self._usable())
        if not invocation.handle:
            self.status.require(invocation.tool, invocation.definition_hash)
        while True:
            try:
                async with aclosing(connection.call(invocation)) as updates:
                    async for update in updates:
                        if isinstance(update, Accepted):
                            invocation = replace(invocation, handle=update.handle)
                        yield update
                return
            except (ToolConnectionLost, ToolServerUnavailable) as error:
                if not invocation.handle:
                    raise
                if connection.lifeline.reason is None:
                    raise ToolConnectionLost(error.message) from error
            # The call goes on at its server. What ends its waiting for the next connection is its time.
            connection = await self._returned()

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource, as `ToolSource.read` promises."""
        connection = await self._usable()
        async with connection.alone():
            return await connection.library.read(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt, as `ToolSource.prompt` promises."""
        connection = await self._usable()
        async with connection.alone():
            return await connection.library.prompt(name, arguments)

    async def watch(self, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource, as `ToolSource.watch` promises."""
        connection, followed = await self._usable(), False
        while True:
            try:
                async with aclosing(connection.watches.follow(uri)) as changes:
                    async for changed in changes:
                        followed = True
                        yield changed
            except (ToolConnectionLost, ToolServerUnavailable):
                if not followed:
                    raise
                await asyncio.sleep(self._backoff.first)
            connection = await self._returned()

    async def run(self) -> None:
        """Keep the server connected until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._become(state=ServerState.CONNECTING)
                    began = self._clock.monotonic()
                    life = tasks.create_task(self._live(), name=f"mcp:{self.name}")
                    await asyncio.wait({life})
                    # The SDK may end a task of its own by cancelling it.
                    reason = ToolConnectionLost() if life.cancelled() else life.result()
                    await self._rest(reason, lived=self._clock.monotonic() - began)
        finally:
            self._given_up = True
            self._status.set(self.status)

    async def _rest(self, reason: MeshError, *, lived: float) -> None:
        """Wait until the next attempt is due: at once after the loss of a good connection, else ever longer."""
        was_ready, self._connection = self._connection is not None, None
        self._failures = 1 if was_ready and lived >= self._backoff.stable else self._failures + 1
        log.warning("tool_server.lost", server=self.name, reason=str(reason), failures=self._failures)
        self._become(failure=Failure.of(reason))
        if was_ready and self._failures == 1:
            return
        self._become(state=ServerState.UNAVAILABLE)
        await asyncio.sleep(self._backoff.seconds(self._failures))

    async def _live(self) -> MeshError:
        """Connect, serve until the connection ends, and say why it did."""
        lifeline = Lifeline()
        try:
            async with asyncio.timeout(self._connect_seconds) as limit:
                return await self._connected(lifeline, limit)
        except BaseExceptionGroup as group:
            error: BaseException = _first(group)
        except Exception as single:  # noqa: BLE001  # whatever a server makes the SDK raise costs its own tools only
            error = single
        reason = translated(error)
        if isinstance(reason, ToolConnectionLost) and lifeline.reason is None:
            log.info("tool_server.error", server=self.name, exc_info=error)
        lifeline.cut(reason)
        # The transport knows best why a connection broke, but not why we gave it up.
        return await lifeline.ended() if isinstance(reason, Unavailable) else reason

    async def _connected(self, lifeline: Lifeline, limit: asyncio.Timeout) -> MeshError:
        back_channel = BackChannel(self._allowed)
        async with self._client(lifeline, back_channel) as client, anyio.create_task_group() as tasks:
            connection = McpConnection(
                client,
                tasks,
                server=self.name,
                lifeline=lifeline,
                on_tools=lambda tools: self._become(tools=tools),
                on_library=lambda library: self._become(library=library),
                back_channel=back_channel,
            )
            await connection.refresh()
            limit.reschedule(None)
            self._connection = connection
            self._become(state=ServerState.READY, failure=None, protocol_version=connection.protocol_version)
            log.info("tool_server.ready", server=self.name, tools=len(self.status.tools))
            tasks.start_soon(connection.keep_fresh)
            try:
                reason = await lifeline.ended()
            finally:
                connection.watches.end()
            self._become(state=ServerState.CONNECTING)
            tasks.cancel_scope.cancel()
        return reason

    def _client(self, lifeline: Lifeline, back_channel: BackChannel) -> Client:
        return Client(
            forms_only(self._transport(lifeline)),
            read_timeout_seconds=self._connect_seconds,
            message_handler=self._on_message,
            client_info=Implementation(name="threadmesh", version=installed_version()),
            cache=None,
            elicitation_callback=back_channel.elicited if self._allowed.elicitation else None,
            sampling_callback=back_channel.sampled if self._allowed.sampling else None,
        )

    async def _on_message(self, message: IncomingMessage) -> None:
        if self._connection is None:
            return
        if isinstance(message, ProgressNotification):
            await self._connection.own_tasks.progressed(message)
        if isinstance(message, ResourceUpdatedNotification):
            self._connection.watches.updated(str(message.params.uri))
        if isinstance(message, ToolListChangedNotification):
            self._connection.stale.set()
        if isinstance(message, ResourceListChangedNotification | PromptListChangedNotification):
            self._connection.library.stale.set()

    async def _usable(self) -> McpConnection:
        """Give the connection, waiting for one that is being made; raises `ToolServerUnavailable`."""
        async with aclosing(self._status.states()) as states:
            async for _, status in states:
                if status.state is ServerState.UNAVAILABLE:
                    break
                if self._connection is not None and self._connection.lifeline.reason is None:
                    return self._connection
        why = self.status.failure.message if self.status.failure else ""
        raise ToolServerUnavailable(
            f"The tool server {self.name} cannot be reached now. {why}".rstrip(), server=self.name
        )

    async def _returned(self) -> McpConnection:
        """Give the connection, waiting for one however long the server is away."""
        async with aclosing(self._status.states()) as states:
            async for _ in states:
                if self._given_up:
                    break
                if self._connection is not None and self._connection.lifeline.reason is None:
                    return self._connection
        raise ToolServerUnavailable(server=self.name)

    def _become(self, **changes: Any) -> None:
        after = replace(self.status, **changes)
        if after != self.status:
            self._status.set(after)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first error that the group was made for."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
