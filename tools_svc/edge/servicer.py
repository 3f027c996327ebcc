"""The tools service on gRPC."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceServicer
from threadmesh.telemetry.logs import current_ids
from tools_svc.domain.capability import Ranked
from tools_svc.domain.consult import Reader
from tools_svc.domain.execute import Executor
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge import codec, library_codec, task_codec
from tools_svc.edge.heartbeat import SECONDS, with_heartbeats

_TASKS, _MOST_TASKS = 50, 100

Context = grpc.aio.ServicerContext[Any, Any]


class ToolsServicer(ToolsServiceServicer):
    """Answers for the catalogue and the calls; silent streams give a sign of life every `heartbeat_seconds`."""

    def __init__(
        self,
        *,
        watcher: CatalogueWatcher,
        executor: Executor,
        tasks: Tasks,
        reader: Reader,
        on_batch: Callable[[int], None],
        capabilities: Callable[[], Sequence[tuple[str, Sequence[Ranked]]]],
        problems: Callable[[], Sequence[str]],
        heartbeat_seconds: float = SECONDS,
    ) -> None:
        """`on_batch` hears how many calls each batch holds; `capabilities` gives each with its tools in their ranks,
        `problems` what keeps an edit of the servers file from being followed.
        """
        self._watcher = watcher
        self._executor = executor
        self._tasks = tasks
        self._reader = reader
        self._on_batch = on_batch
        self._capabilities = capabilities
        self._problems = problems
        self._heartbeat_seconds = heartbeat_seconds

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """List the tools that can be called now, those of servers that are away, and those that wait for approval."""
        catalogue = codec.encode_catalogue(
            self._watcher.catalogue, self._capabilities(), names=frozenset(request.names), brief=request.brief
        )
        return pb.ListToolsResponse(
            tools=catalogue.tools,
            away_tools=catalogue.away_tools,
            servers=catalogue.servers,
            capabilities=catalogue.capabilities,
            servers_file_problems=self._problems(),
            quarantined=catalogue.quarantined,
        )

    async def WatchTools(self, request: pb.WatchToolsRequest, context: Context) -> AsyncIterator[pb.WatchToolsResponse]:
        """Stream the catalogue and its changes."""
        sequence = request.after_sequence
        async with aclosing(self._beating(self._watcher.states(request.after_sequence))) as states:
            async for state in states:
                if state is None:
                    yield pb.WatchToolsResponse(sequence=sequence, heartbeat=pb.Heartbeat())
                    continue
                sequence, catalogue = state
                encoded = codec.encode_catalogue(catalogue, self._capabilities())
                yield pb.WatchToolsResponse(sequence=sequence, catalogue=encoded)

    async def ExecuteTools(
        self, request: pb.ExecuteToolsRequest, context: Context
    ) -> AsyncIterator[pb.ExecuteToolsResponse]:
        """Run a batch of calls and stream what happens."""
        batch = codec.decode_batch(request, ids=current_ids())
        self._on_batch(len(batch.calls))
        sequence = 0
        async with aclosing(self._beating(self._executor.execute(batch))) as events:
            async for event in events:
                sequence += 1
                if event is None:
                    yield pb.ExecuteToolsResponse(sequence=sequence, heartbeat=pb.Heartbeat())
                else:
                    yield codec.encode_executed(event, sequence=sequence)
        yield pb.ExecuteToolsResponse(sequence=sequence + 1, done=pb.Done())

    async def WatchCalls(self, request: pb.WatchCallsRequest, context: Context) -> AsyncIterator[pb.WatchCallsResponse]:
        """Stream what happened to a run's calls and what happens next."""
        sequence = request.after_sequence
        async with aclosing(self._beating(self._executor.watch(request.run_id, sequence))) as events:
            async for event in events:
                if event is None:
                    yield pb.WatchCallsResponse(sequence=sequence, heartbeat=pb.Heartbeat())
                else:
                    sequence = event.sequence
                    yield codec.encode_watched(event)
        yield pb.WatchCallsResponse(sequence=sequence, done=pb.Done())

    async def CancelCall(self, request: pb.CancelCallRequest, context: Context) -> pb.CancelCallResponse:
        """Stop a call as well as its tool allows, or only if it asks."""
        cancelled = await self._executor.cancel(request.run_id, request.call_id, if_asking=request.if_asking)
        return pb.CancelCallResponse(cancelled=cancelled)

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        """List the tasks, the newest first."""
        size = min(request.page_size or _TASKS, _MOST_TASKS)
        after = task_codec.decode_page_token(request.page_token)
        found = await self._tasks.page(task_codec.decode_filter(request), after=after, limit=size + 1)
        page = found[:size]
        token = task_codec.encode_page_token(page[-1]) if len(found) > size else ""
        return pb.ListTasksResponse(tasks=map(task_codec.encode_task, page), next_page_token=token)

    async def ApproveDefinition(
        self, request: pb.ApproveDefinitionRequest, context: Context
    ) -> pb.ApproveDefinitionResponse:
        """Accept the changed definition of a tool."""
        tool = await self._watcher.approve(request.name, request.definition_hash)
        return pb.ApproveDefinitionResponse(tool=codec.encode_tool(tool))

    async def ListResources(self, request: pb.ListResourcesRequest, context: Context) -> pb.ListResourcesResponse:
        """List what can be read."""
        return library_codec.encode_resources(self._watcher.catalogue, server=request.server)

    async def ReadResource(self, request: pb.ReadResourceRequest, context: Context) -> pb.ReadResourceResponse:
        """Read a resource."""
        return library_codec.encode_contents(await self._reader.read(request.server, request.uri))

    async def WatchResource(
        self, request: pb.WatchResourceRequest, context: Context
    ) -> AsyncIterator[pb.WatchResourceResponse]:
        """Stream that a resource has changed."""
        sequence = 0
        async with aclosing(self._beating(self._reader.watch(request.server, request.uri))) as changes:
            async for uri in changes:
                if uri is None:
                    yield pb.WatchResourceResponse(sequence=sequence, heartbeat=pb.Heartbeat())
                    continue
                sequence += 1
                yield pb.WatchResourceResponse(sequence=sequence, change=pb.ResourceChange(uri=uri))

    async def ListPrompts(self, request: pb.ListPromptsRequest, context: Context) -> pb.ListPromptsResponse:
        """List the prompts."""
        return library_codec.encode_prompts(self._watcher.catalogue, server=request.server)

    async def GetPrompt(self, request: pb.GetPromptRequest, context: Context) -> pb.GetPromptResponse:
        """Fill in a prompt."""
        return library_codec.encode_filled(await self._reader.prompt(request.name, request.arguments))

    def _beating(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        return with_heartbeats(items, every=self._heartbeat_seconds)
