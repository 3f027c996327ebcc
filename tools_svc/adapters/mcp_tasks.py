"""Calls that an MCP server keeps as tasks of its own (revision 2025-11-25).

The SDK knows the messages and nothing of their use, so they are sent as raw requests. Later revisions move tasks into
an extension in which the server decides by itself; that one is not declared, so no server answers so.
"""

from collections.abc import Mapping
from typing import Any, cast
from uuid import uuid4

import anyio
import mcp_types as types
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from threadmesh.errors import MeshError, ToolAnswerUnreadable, ToolConnectionLost, ToolFailed, ToolInputRequired
from tools_svc.adapters.mcp_exchange import Exchange
from tools_svc.adapters.mcp_raw import Raw
from tools_svc.adapters.mcp_values import call_meta, tool_output
from tools_svc.domain.call import Invocation, ToolOutput

_LONG_SECONDS = 60.0
"""Calls that may take longer are made as tasks where their tools leave the choice."""

_KEPT_SECONDS = 600.0
"""For so long after a call's time its server is asked to keep the result."""

_POLL_SECONDS = 1.0
_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.05, 30.0
_REQUEST_SECONDS = 30.0
_LONGEST_SECONDS = 24 * 3600.0
_CANCEL_SECONDS = 2.0
_PROTOCOL = "2025-11-25"


class McpTasks:
    """The tasks of one connection: made, followed by polling, fetched and cancelled."""

    def __init__(self, client: Client, *, may_ask: bool = False) -> None:
        """A server that `may_ask` has the questions of its tasks answered where somebody answers those of the call."""
        self._client = client
        self._may_ask = may_ask
        self._support: dict[str, str] = {}
        self._followed: dict[str | int, Exchange] = {}

    def learn(self, tools: list[dict[str, Any]]) -> None:
        """Take note of which tools can be called as tasks, from their definitions."""
        executions = {tool["name"]: tool.get("execution") for tool in tools}
        self._support = {
            name: str(each.get("taskSupport")) for name, each in executions.items() if isinstance(each, dict)
        }

    def concern(self, invocation: Invocation) -> bool:
        """Whether the call is a task already, or is to be made as one."""
        if invocation.handle:
            return True
        if self._client.protocol_version != _PROTOCOL or not self._declared():
            return False
        long = invocation.durable or invocation.timeout_seconds > _LONG_SECONDS
        support = self._support.get(invocation.tool)
        return support == "required" or (support == "optional" and long)

    async def answer(self, exchange: Exchange, invocation: Invocation) -> ToolOutput | MeshError:
        """Make the call as a task, unless it is one already, and give its result; raises the SDK's errors."""
        token = f"task-{uuid4().hex}"
        self._followed[token] = exchange
        handle = invocation.handle
        try:
            handle = handle or await self._made(invocation, token)
            exchange.accept(handle)
            return await self._result(handle, exchange, may_ask=self._may_ask and invocation.may_ask)
        except anyio.get_cancelled_exc_class():
            if handle and invocation.given_up():
                await self._cancel(handle)
            raise
        finally:
            del self._followed[token]

    async def progressed(self, notification: types.ProgressNotification) -> None:
        """Take the progress of a task: the SDK forgets whose it is once the request that made it is answered."""
        params = notification.params
        if (exchange := self._followed.get(params.progress_token)) is not None:
            await exchange.report(params.progress, params.total, params.message)

    def _declared(self) -> bool:
        tasks = self._client.server_capabilities.tasks
        tools = tasks.requests.tools if tasks is not None and tasks.requests is not None else None
        return tools is not None and tools.call is not None

    async def _made(self, invocation: Invocation, token: str) -> str:
        ttl = int((invocation.timeout_seconds + _KEPT_SECONDS) * 1000)
        params = types.CallToolRequestParams(
            name=invocation.tool,
            arguments=invocation.arguments,
            task=types.TaskMetadata(ttl=ttl),
            _meta=cast(types.RequestParamsMeta, call_meta(invocation) | {"progressToken": token}),
        )
        made = await self._asked(types.CallToolRequest(params=params))
        match made.get("task"):
            case {"taskId": str(handle)} if handle:
                return handle
            case _:
                raise ToolAnswerUnreadable("The tool's server did not make the task that it was asked for.")

    async def _result(self, handle: str, exchange: Exchange, *, may_ask: bool) -> ToolOutput | MeshError:
        told = ""
        while True:
            state = await self._state(handle)
            message = str(state.get("statusMessage") or "")
            match state.get("status"):
                case "completed" | "failed":
                    return await self._fetched(handle, seconds=_REQUEST_SECONDS)
                case "input_required" if may_ask:
                    # The server asks while it is asked for the result, which it gives behind the answers.
                    return await self._fetched(handle, seconds=_LONGEST_SECONDS)
                case "cancelled":
                    return ToolFailed(message or "The tool's server has cancelled the task.")
                case "input_required":
                    await self._cancel(handle)
                    return ToolInputRequired()
                case _ if message != told:
                    told = message
                    exchange.say(message)
            await anyio.sleep(_pause(state))

    async def _fetched(self, handle: str, *, seconds: float) -> ToolOutput:
        params = types.GetTaskPayloadRequestParams(task_id=handle)
        return tool_output(await self._asked(types.GetTaskPayloadRequest(params=params), seconds=seconds))

    async def _state(self, handle: str) -> Mapping[str, Any]:
        params = types.GetTaskRequestParams(task_id=handle)
        try:
            return await self._asked(types.GetTaskRequest(params=params))
        except MCPError as error:
            if error.code == types.INVALID_PARAMS:
                raise ToolConnectionLost("The tool's server no longer knows the task.") from error
            if error.code == types.REQUEST_TIMEOUT:
                return {}  # the next question may be answered
            raise

    async def _cancel(self, handle: str) -> None:
        """Stop a task, as well as its server allows; whoever is cancelled meanwhile waits for it shortly."""
        params = types.CancelTaskRequestParams(task_id=handle)
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            try:
                await self._asked(types.CancelTaskRequest(params=params))
            except MCPError:
                return  # it has ended, or the server cannot stop it

    async def _asked(self, request: types.Request[Any, Any], *, seconds: float = _REQUEST_SECONDS) -> dict[str, Any]:
        send = self._client.session.send_request
        return (await send(request, Raw, request_read_timeout_seconds=seconds)).fields


def _pause(state: Mapping[str, Any]) -> float:
    wanted = state.get("pollInterval")
    seconds = wanted / 1000 if isinstance(wanted, int | float) and not isinstance(wanted, bool) else _POLL_SECONDS
    return min(max(seconds, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS)
