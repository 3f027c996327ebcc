"""The catalogue and its calls on MCP's wire, for clients of every revision that the SDK speaks."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any
from uuid import uuid4

import anyio
import mcp_types as types
import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError

from threadmesh.conversation import CallFinished, CallProgress, ToolCall
from threadmesh.errors import MeshError, Unavailable, Unreachable
from threadmesh.gateway import values
from threadmesh.gateway.changes import Changes
from threadmesh.gateway.failures import as_mcp_errors
from threadmesh.gateway.library import LibraryHandlers
from threadmesh.gateway.pages import page
from threadmesh.gateway.port import ToolsService
from threadmesh.telemetry.logs import bound_ids
from threadmesh.telemetry.metrics import installed_version
from threadmesh.telemetry.trace import traceparent_of

log = structlog.get_logger()

Context = ServerRequestContext[Any, Any]

GONE = "threadmesh.gone"
"""The entry of an HTTP request's scope that holds an event: set when nobody reads the response any longer."""

_STOP_SECONDS = 5.0


class Gateway(Server[Any]):
    """An MCP server of the tools service, for any number of clients at once.

    A call whose client cancels it, or vanishes, is stopped as well as its tool allows. The SDK runs the server.
    """

    def __init__(self, tools: ToolsService) -> None:
        self._tools = tools
        self._changes = Changes(tools)
        library = LibraryHandlers(tools)
        super().__init__(
            "threadmesh",
            version=installed_version(),
            lifespan=self._following,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=library.list_resources,
            on_list_resource_templates=library.list_templates,
            on_read_resource=library.read_resource,
            on_list_prompts=library.list_prompts,
            on_get_prompt=library.get_prompt,
            on_subscribe_resource=self._changes.subscribe,
            on_unsubscribe_resource=self._changes.unsubscribe,
            on_subscriptions_listen=self._changes.listen,
        )
        self.add_notification_handler("notifications/initialized", types.NotificationParams, self._changes.tell)

    def end_subscriptions(self) -> None:
        """End the streams by which clients follow changes, as the protocol wants it."""
        self._changes.close()

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Say that the lists change, which the SDK's HTTP sessions would not."""
        every = NotificationOptions(tools_changed=True, resources_changed=True, prompts_changed=True)
        options = notification_options or every
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def _following(self, _: Server[Any]) -> AbstractAsyncContextManager[None]:
        return self._changes.following(self._tools.changes())

    async def _list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        version = context.protocol_version
        with as_mcp_errors():
            catalogue = await self._tools.catalogue()
        # A tool whose calls may need approval is left out: here nobody could give it, nor say what a model had read.
        offered = [values.tool(each, version=version) for each in catalogue.tools if not each.requires_approval]
        fitting = [each for each in offered if _fits(each, version)]
        shown, following = page(fitting, params, key=lambda tool: tool.name)
        return types.ListToolsResult(tools=shown, next_cursor=following)

    async def _call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        call = ToolCall(id=f"mcp-{uuid4().hex}", name=params.name, arguments_json=json.dumps(params.arguments or {}))
        gone = context.request.scope[GONE] if context.request else asyncio.Event()
        with bound_ids(request_id=call.id, **_trace(context)), as_mcp_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_when, gone, tasks.cancel_scope)
                result = await self._carried(context, call)
                tasks.cancel_scope.cancel()
                return result
        raise MCPError(types.CONNECTION_CLOSED, "The client has gone.")

    async def _carried(self, context: Context, call: ToolCall) -> types.CallToolResult:
        """Run a call to its end; one that is given up before is stopped."""
        finished: CallFinished | None = None
        try:
            async with aclosing(self._tools.execute(call)) as events:
                async for event in events:
                    if isinstance(event, CallProgress):
                        await context.session.report_progress(event.progress, event.total, event.message or None)
                    if isinstance(event, CallFinished):
                        finished = event
                        log.info("gateway.call", tool=call.name[:128], outcome=str(event.outcome))
                        return values.call_result(event, version=context.protocol_version)
        except MeshError as error:
            return values.call_error(
                error, unknown=isinstance(error, Unavailable) and not isinstance(error, Unreachable)
            )
        finally:
            if finished is None:
                await self._stop(call)
        return values.call_error(Unavailable("The tools service ended the call without a result."), unknown=True)

    async def _stop(self, call: ToolCall) -> None:
        with anyio.move_on_after(_STOP_SECONDS, shield=True), suppress(MeshError):
            await self._tools.cancel(call.id)


def _trace(context: Context) -> dict[str, str]:
    """Give the trace that a request is part of, as MCP clients say it."""
    trace = traceparent_of(str((context.meta or {}).get("traceparent", "")))
    return {"traceparent": trace} if trace else {}


async def _cancel_when(gone: asyncio.Event, scope: anyio.CancelScope) -> None:
    await gone.wait()
    scope.cancel()


def _fits(tool: types.Tool, version: str) -> bool:
    if values.fits(types.ListToolsResult(tools=[tool]), "tools/list", version=version):
        return True
    log.warning("gateway.tool_left_out", tool=tool.name, protocol_version=version)
    return False
