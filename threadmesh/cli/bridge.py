"""`threadmesh mcp`: the tools of a running mesh for an MCP client that starts its servers itself."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from mcp.server.stdio import stdio_server

from threadmesh.api.conversation.v1 import conversation_pb2
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.cli.calls import SECONDS, list_tools, opened, reached
from threadmesh.conversation import CallFinished, CallProgress, CallStarted, ToolCall
from threadmesh.errors import MeshError
from threadmesh.event_codec import decode_call_finished, decode_call_progress, decode_call_started
from threadmesh.gateway.server import Gateway
from threadmesh.rpc.channel import MeshChannel, translated, translated_stream
from threadmesh.telemetry import logs

if TYPE_CHECKING:
    from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceAsyncStub

_PEER = "tools"
_SILENCE_SECONDS = 10.0
_AGAIN_SECONDS = 1.0


async def bridge(target: str) -> None:
    """Speak MCP on the standard streams until the input ends; raises `NotRunning` when no tools service is there.

    Only the protocol is written to the standard output. A tools service that goes away and comes back is waited for.
    """
    logs.configure(unit="mcp", level="warning")
    async with reached(target, peer=_PEER) as channel:
        await list_tools(channel)
    # The input is read by a thread that nothing can stop but the end of the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    async with opened(target) as channel, stdio_server() as (incoming, outgoing):
        server = Gateway(RemoteTools(channel))
        await server.run(incoming, outgoing, server.create_initialization_options())


class RemoteTools:
    """The `ToolsService` at the other end of a channel."""

    def __init__(self, channel: MeshChannel) -> None:
        self._stub: ToolsServiceAsyncStub = ToolsServiceStub(channel)

    async def catalogue(self) -> pb.Catalogue:
        """Give the present catalogue."""
        async with translated(_PEER):
            listed = await self._stub.ListTools(pb.ListToolsRequest(), timeout=SECONDS)
        return pb.Catalogue(tools=listed.tools, servers=listed.servers, quarantined=listed.quarantined)

    async def changes(self) -> AsyncGenerator[pb.Catalogue, None]:
        """Give the present catalogue, then each later one; after an outage the one that is there then."""
        while True:
            try:
                watching = self._stub.WatchTools(pb.WatchToolsRequest())
                responses = translated_stream(watching, peer=_PEER, silence_seconds=_SILENCE_SECONDS)
                async with aclosing(responses):
                    async for response in responses:
                        if response.HasField("catalogue"):
                            yield response.catalogue
            except MeshError:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def execute(self, call: ToolCall) -> AsyncGenerator[CallStarted | CallProgress | CallFinished, None]:
        """Run a call of nobody's run to its end."""
        wire = conversation_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
        executing = self._stub.ExecuteTools(pb.ExecuteToolsRequest(calls=[wire]))
        async with aclosing(translated_stream(executing, peer=_PEER, silence_seconds=_SILENCE_SECONDS)) as responses:
            async for response in responses:
                match response.WhichOneof("event"):
                    case "started":
                        yield decode_call_started(response.started)
                    case "progress":
                        yield decode_call_progress(response.progress)
                    case "finished":
                        yield decode_call_finished(response.finished)
                    case _:
                        pass

    async def cancel(self, call_id: str) -> None:
        """Stop a call as well as its tool allows."""
        async with translated(_PEER):
            await self._stub.CancelCall(pb.CancelCallRequest(call_id=call_id), timeout=SECONDS)

    async def resources(self) -> pb.ListResourcesResponse:
        """List what can be read."""
        async with translated(_PEER):
            return await self._stub.ListResources(pb.ListResourcesRequest(), timeout=SECONDS)

    async def read(self, server: str, uri: str) -> pb.ReadResourceResponse:
        """Read a resource by its server's own URI."""
        async with translated(_PEER):
            return await self._stub.ReadResource(pb.ReadResourceRequest(server=server, uri=uri))

    async def watch(self, server: str, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource; after an outage it is followed anew, and may have changed meanwhile."""
        request = pb.WatchResourceRequest(server=server, uri=uri)
        followed = False
        while True:
            try:
                watching = self._stub.WatchResource(request)
                responses = translated_stream(watching, peer=_PEER, silence_seconds=_SILENCE_SECONDS)
                async with aclosing(responses):
                    async for response in responses:
                        if response.HasField("change"):
                            followed = True
                            yield response.change.uri
            except MeshError as error:
                if not followed or not error.retryable:
                    raise
                await asyncio.sleep(_AGAIN_SECONDS)

    async def prompts(self) -> pb.ListPromptsResponse:
        """List the prompts."""
        async with translated(_PEER):
            return await self._stub.ListPrompts(pb.ListPromptsRequest(), timeout=SECONDS)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> pb.GetPromptResponse:
        """Fill in a prompt."""
        async with translated(_PEER):
            return await self._stub.GetPrompt(pb.GetPromptRequest(name=name, arguments=arguments))
