"""One MCP connection, from its handshake to its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

import anyio
import mcp_types as types
import structlog
from anyio.abc import TaskGroup
from mcp.client import Client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError, ToolConnectionLost, ToolServerUnavailable
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_back_channel import BackChannel
from tools_svc.adapters.mcp_errors import SDK_ERRORS, translated
from tools_svc.adapters.mcp_exchange import Exchange
from tools_svc.adapters.mcp_library import McpLibrary
from tools_svc.adapters.mcp_questions import NOTHING, answered_or_asked
from tools_svc.adapters.mcp_raw import Raw
from tools_svc.adapters.mcp_requests import called_with
from tools_svc.adapters.mcp_tasks import McpTasks
from tools_svc.adapters.mcp_tool_list import listed_tools
from tools_svc.adapters.mcp_watches import McpWatches
from tools_svc.domain.call import Asked, Invocation, Sent, ToolOutput, Update, Waiting
from tools_svc.domain.library import Library
from tools_svc.domain.tool import OfferedTool

log = structlog.get_logger()

_RELISTEN_SECONDS = 1.0
_REFRESH_SECONDS = 0.2
_CHARACTERS_A_SECOND = 64 * 1024
"""How soon a list is read again that changes all the time: what that takes is felt by less than 1 of 20 other calls."""
_TIMEOUT_MARGIN = 1.0
_LONGEST_SECONDS = 24 * 3600.0
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 0.05, 1.0


class McpConnection:
    """A client after its handshake. Its calls run in `tasks`, which belong to the task that entered the client."""

    def __init__(
        self,
        client: Client,
        tasks: TaskGroup,
        *,
        server: str,
        lifeline: Lifeline,
        on_tools: Callable[[tuple[OfferedTool, ...]], None],
        on_library: Callable[[Library], None],
        back_channel: BackChannel,
    ) -> None:
        self.library = McpLibrary(client, tasks, server=server, on_library=on_library)
        self.own_tasks = McpTasks(client, may_ask=back_channel.allowed.anything)
        self.watches = McpWatches(client, tasks, server=server)
        self.lifeline = lifeline
        self.stale = asyncio.Event()
        """Set by whoever learns that the list of tools has changed."""
        self._client = client
        self._tasks = tasks
        self._server = server
        self._on_tools = on_tools
        self._back_channel = back_channel

    @property
    def protocol_version(self) -> str:
        """The MCP revision that both sides speak."""
        return self._client.protocol_version

    @property
    def _alone(self) -> bool:
        """Whether calls go one at a time, because a question would not say whose it is."""
        return self._back_channel.allowed.anything and self.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS

    def alone(self, exchange: Exchange | None = None) -> AbstractAsyncContextManager[None]:
        """Have whatever could bring questions go alone where these do not say what they belong to."""
        return self._back_channel.alone(exchange) if self._alone else nullcontext()

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call, as `ToolSource.call` promises."""
        exchange = Exchange()
        if self._alone and self._back_channel.busy:
            yield Waiting()
        async with self.alone(exchange if invocation.may_ask else None):
            try:
                self._tasks.start_soon(self._perform, exchange, invocation)
            except RuntimeError as error:
                # The connection has just ended.
                raise ToolServerUnavailable(server=self._server) from error
            try:
                if not invocation.handle:
                    yield Sent()
                async with aclosing(exchange.updates()) as updates:
                    async for update in updates:
                        yield update
            finally:
                exchange.close()

    async def refresh(self) -> int:
        """List the tools anew, tell them, and give the characters of their definitions.

        Raises a `MeshError` when the server does not give them.
        """
        try:
            tools = await listed_tools(self._client, server=self._server)
        except SDK_ERRORS as error:
            raise translated(error) from error
        self.own_tasks.learn([raw for raw, _ in tools])
        self._on_tools(tuple(tool for _, tool in tools))
        return sum(len(tool.definition_json) for _, tool in tools)

    async def keep_fresh(self) -> None:
        """List tools, resources and prompts anew whenever the server says that they changed, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self.library.keep_fresh)
            while True:
                await self.stale.wait()
                self.stale.clear()
                size = 0
                try:
                    size = await self.refresh()
                except MeshError as error:
                    log.warning("tool_server.list_failed", server=self._server, error=str(error))
                await anyio.sleep(_REFRESH_SECONDS + size / _CHARACTERS_A_SECOND)

    async def _listen(self) -> None:
        """Subscribe to changes of the lists; servers of older revisions tell them unasked."""
        while True:
            try:
                async with self._client.listen(
                    tools_list_changed=True, resources_list_changed=True, prompts_list_changed=True
                ) as subscription:
                    async for event in subscription:
                        (self.stale if isinstance(event, ToolsListChanged) else self.library.stale).set()
            except (ListenNotSupportedError, MCPError):
                return
            except (SubscriptionLost, TimeoutError) as error:
                log.info("tool_server.subscription_lost", server=self._server, error=str(error))
            await anyio.sleep(_RELISTEN_SECONDS)
            self.stale.set()
            self.library.stale.set()

    async def _perform(self, exchange: Exchange, invocation: Invocation) -> None:
        try:
            with exchange.scope:
                crash_point("tools.before_write")
                answer = await self._answer(exchange, invocation)
                crash_point("tools.after_read")
                exchange.settle(answer)
        finally:
            exchange.settle(ToolConnectionLost())

    async def _answer(self, exchange: Exchange, invocation: Invocation) -> ToolOutput | Asked | MeshError:
        try:
            if self.own_tasks.concern(invocation):
                return await self.own_tasks.answer(exchange, invocation)
            return await self._called(exchange, invocation)
        except MeshError as error:
            return error
        except SDK_ERRORS as error:
            return translated(error)

    async def _called(self, exchange: Exchange, invocation: Invocation) -> ToolOutput | Asked:
        """Call until the server answers or asks; one that wants to be called again, and nothing else, is."""
        allowed = self._back_channel.allowed if invocation.may_ask else NOTHING
        again, pause = called_with(invocation), _AGAIN_SECONDS
        while True:
            # Not `Client.call_tool`, which checks results with regular expressions that a schema can make endless.
            raw = await self._client.session.send_request(
                types.CallToolRequest(params=again),
                Raw,
                request_read_timeout_seconds=_patience(invocation),
                progress_callback=exchange.report,
            )
            said = answered_or_asked(raw.fields, allowed)
            if isinstance(said, ToolOutput) or said.questions:
                return said
            await anyio.sleep(pause)
            again = again.model_copy(update={"request_state": said.request_state, "input_responses": None})
            pause = min(2 * pause, _LONGEST_AGAIN_SECONDS)


def _patience(invocation: Invocation) -> float:
    """Give the SDK's limit of a call: that of one that may ask stands still, which only its caller can know."""
    return invocation.timeout_seconds + (_LONGEST_SECONDS if invocation.may_ask else _TIMEOUT_MARGIN)
