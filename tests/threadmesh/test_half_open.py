"""Peers that vanish without a word: both ends notice, and nothing of theirs is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.servers.silent_line import SilentLine, silent_line
from tests.threadmesh.servicers import Behaving, service
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.errors import Unavailable
from threadmesh.rpc.channel import connect, translated
from threadmesh.rpc.keepalive import KEEPALIVE, Keepalive
from threadmesh.rpc.server import serve
from threadmesh.telemetry.metrics import new_registry

SOON = Keepalive(silent_ms=200, answer_ms=200)


@asynccontextmanager
async def joined(
    *, client: Keepalive = KEEPALIVE, server: Keepalive = KEEPALIVE
) -> AsyncIterator[tuple[SilentLine, Behaving, Any]]:
    """Join a client with a server by a line that can fall silent."""
    servicer = Behaving()  # type: ignore[abstract]  # the tests need two of its methods
    async with AsyncExitStack() as stack:
        serving = serve(
            [service(servicer)], address="127.0.0.1:0", registry=new_registry(), ping=_ready, keepalive=server
        )
        port = (await stack.enter_async_context(serving)).port
        line = await stack.enter_async_context(silent_line(port))
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{line.port}", keepalive=client))
        yield line, servicer, ToolsServiceStub(channel)


async def test_a_call_whose_server_has_vanished_ends_as_unavailable() -> None:
    async with asyncio.timeout(30), joined(client=SOON) as (line, servicer, stub):
        asking = asyncio.ensure_future(_ask(stub))
        await servicer.called.wait()
        line.fall_silent()
        with pytest.raises(Unavailable):
            await asking


async def test_a_stream_whose_server_has_vanished_ends_as_unavailable() -> None:
    async with asyncio.timeout(30), joined(client=SOON) as (line, _, stub):
        stream = stub.WatchTools(pb.WatchToolsRequest())
        first = [await stream.read() for _ in range(3)]
        line.fall_silent()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()

    assert len(first) == 3
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_a_server_does_for_a_client_that_has_vanished_is_stopped() -> None:
    async with asyncio.timeout(30), joined(server=SOON) as (line, servicer, stub):
        stream = stub.WatchTools(pb.WatchToolsRequest())
        await stream.read()
        line.fall_silent()
        await servicer.stream_closed.wait()

    assert servicer.stream_closed.is_set()


async def _ask(stub: Any) -> None:
    async with translated(peer="tools"):
        await stub.ApproveDefinition(pb.ApproveDefinitionRequest(name="hangs", definition_hash="h"))


async def _ready() -> None:
    return
