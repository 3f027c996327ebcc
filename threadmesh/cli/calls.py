"""The mesh's services as the commands use them: gRPC calls whose errors are `MeshError`s."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.inference.v1 import inference_service_pb2 as inference_pb
from threadmesh.api.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from threadmesh.api.tools.v1 import tools_service_pb2 as tools_pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.cli.exits import NotRunning
from threadmesh.cli.targets import Target
from threadmesh.errors import ThreadNotFound, Unavailable
from threadmesh.links.link import PLAINTEXT
from threadmesh.rpc.channel import MeshChannel, connect, translated, translated_stream
from threadmesh.telemetry import logs

SECONDS = 10.0
"""Limit of a call that only reads."""

_PAGE = 1000

Result = TypeVar("Result")


def run(command: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's calls to their end."""
    return asyncio.run(command)


def opened(target: str) -> MeshChannel:
    """Open a channel over the link of a `Target`, in plaintext to a mere address; raises `ConfigurationError`."""
    if not isinstance(target, Target):
        return connect(target)
    if target.link != PLAINTEXT:
        logs.configure(unit="cli", level="error")  # what is wrong with certificates, and not on the standard output
    return connect(target, target.link, peer=target.peer)


@asynccontextmanager
async def reached(target: str, *, peer: str) -> AsyncIterator[MeshChannel]:
    """Give a channel to a unit; raises `NotRunning` when nothing answers at `target`, other errors as they are."""
    async with opened(target) as channel:
        try:
            async with translated(peer):
                yield channel
        except Unavailable as error:
            if error.reason != Unavailable.reason:
                raise
            secured = isinstance(target, Target) and target.link.files.paths
            distrust = ", or does not take this certificate" if secured else ""
            raise NotRunning(
                f"The {peer} service does not answer at {target}{distrust}; start the mesh with `threadmesh up`, "
                "or see `threadmesh status`."
            ) from error


async def list_models(channel: MeshChannel) -> list[inference_pb.Model]:
    """List the models, the default one first."""
    stub = InferenceServiceStub(channel)
    response = await stub.ListModels(inference_pb.ListModelsRequest(), timeout=SECONDS)
    return list(response.models)


async def list_tools(channel: MeshChannel) -> tools_pb.ListToolsResponse:
    """Give the catalogue."""
    stub = ToolsServiceStub(channel)
    response: tools_pb.ListToolsResponse = await stub.ListTools(tools_pb.ListToolsRequest(), timeout=SECONDS)
    return response


async def execute_tools(
    channel: MeshChannel, request: tools_pb.ExecuteToolsRequest
) -> AsyncGenerator[tools_pb.ExecuteToolsResponse, None]:
    """Yield what happens to the calls; closing the generator cancels those that were not sent."""
    stub = ToolsServiceStub(channel)
    async with aclosing(translated_stream(stub.ExecuteTools(request), peer="tools")) as responses:
        async for response in responses:
            yield response


async def list_threads(channel: MeshChannel, *, prefix: str = "") -> AsyncGenerator[threads_pb.Thread, None]:
    """Yield the threads whose key begins with `prefix`, the latest used first."""
    stub = ThreadsServiceStub(channel)
    token = ""
    while True:
        request = threads_pb.ListThreadsRequest(key_prefix=prefix, page_size=_PAGE, page_token=token)
        page = await stub.ListThreads(request, timeout=SECONDS)
        for thread in page.threads:
            yield thread
        token = page.next_page_token
        if not token:
            return


async def find_thread(channel: MeshChannel, name: str) -> threads_pb.Thread:
    """Give the thread with this id or, failing that, this key; raises `ThreadNotFound`."""
    stub = ThreadsServiceStub(channel)
    if len(name) <= 128:
        try:
            async with translated("context"):
                response = await stub.GetThread(threads_pb.GetThreadRequest(thread_id=name), timeout=SECONDS)
            return response.thread
        except ThreadNotFound:
            pass  # then it is a key
    async with aclosing(list_threads(channel, prefix=name)) as threads:
        async for thread in threads:
            if thread.key == name:
                return thread
    raise ThreadNotFound(f"There is no thread with the id or key {name!r}; see `threadmesh threads list`.")


async def list_items(
    channel: MeshChannel, thread_id: str, *, after: int | None = None
) -> AsyncGenerator[threads_pb.Item, None]:
    """Yield the items of a thread with numbers above `after`, oldest first."""
    stub = ThreadsServiceStub(channel)
    request = threads_pb.ListItemsRequest(thread_id=thread_id, page_size=_PAGE, after_sequence=after)
    while True:
        page = await stub.ListItems(request, timeout=SECONDS)
        for item in page.items:
            yield item
        if not page.has_more or not page.items:
            return
        request.after_sequence = page.items[-1].sequence
