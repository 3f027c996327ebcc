"""The tools service as the gateway of the same process reaches it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.conversation import CallFinished, CallProgress, CallStarted, ToolCall
from threadmesh.errors import CallNotFound
from threadmesh.questions import InputRequired
from threadmesh.telemetry.logs import current_ids
from tools_svc.domain.call import Batch
from tools_svc.domain.consult import Reader
from tools_svc.domain.execute import Executor
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge import codec, library_codec


class LocalTools:
    """The `ToolsService` of this process."""

    def __init__(
        self, *, watcher: CatalogueWatcher, executor: Executor, reader: Reader, on_batch: Callable[[int], None]
    ) -> None:
        self._watcher = watcher
        self._reader = reader
        self._executor = executor
        self._on_batch = on_batch

    async def catalogue(self) -> pb.Catalogue:
        """Give the present catalogue."""
        return codec.encode_catalogue(self._watcher.catalogue)

    async def changes(self) -> AsyncGenerator[pb.Catalogue, None]:
        """Give the present catalogue, then each later one."""
        async with aclosing(self._watcher.states()) as states:
            async for _, catalogue in states:
                yield codec.encode_catalogue(catalogue)

    async def execute(self, call: ToolCall) -> AsyncGenerator[CallStarted | CallProgress | CallFinished, None]:
        """Run a call of nobody's run to its end."""
        self._on_batch(1)
        ids = current_ids()
        batch = Batch(calls=(call,), request_id=ids.get("request_id", ""), traceparent=ids.get("traceparent", ""))
        async with aclosing(self._executor.execute(batch)) as events:
            async for event in events:
                if not isinstance(event.event, InputRequired):  # nobody is there who answers
                    yield event.event

    async def cancel(self, call_id: str) -> None:
        """Stop a call as well as its tool allows."""
        with suppress(CallNotFound):
            await self._executor.cancel("", call_id)

    async def resources(self) -> pb.ListResourcesResponse:
        """List what can be read."""
        return library_codec.encode_resources(self._watcher.catalogue, server="")

    async def read(self, server: str, uri: str) -> pb.ReadResourceResponse:
        """Read a resource by its server's own URI."""
        return library_codec.encode_contents(await self._reader.read(server, uri))

    def watch(self, server: str, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource by its server's own URI."""
        return self._reader.watch(server, uri)

    async def prompts(self) -> pb.ListPromptsResponse:
        """List the prompts."""
        return library_codec.encode_prompts(self._watcher.catalogue, server="")

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> pb.GetPromptResponse:
        """Fill in a prompt."""
        return library_codec.encode_filled(await self._reader.prompt(name, arguments))
