"""What every server and every channel of the mesh promises."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tests.threadmesh.servicers import Behaving, service
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as rpc
from threadmesh.errors import (
    Aborted,
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    ToolNotFound,
    Unavailable,
    Unreachable,
)
from threadmesh.rpc import deadline
from threadmesh.rpc.channel import MeshChannel, connect, translated, translated_stream
from threadmesh.rpc.server import serve
from threadmesh.rpc.status import from_rpc_error
from threadmesh.telemetry.logs import bound_ids
from threadmesh.telemetry.metrics import new_registry
from threadmesh.testing.loopback import channel_for

_FLOOD = 4_000
"""Calls at once; gRPC lets 1,000 wait for a server, and 3,000 at most (`grpc.server.max_pending_requests`)."""


@pytest.fixture
def servicer() -> Behaving:
    return Behaving()  # type: ignore[abstract]  # the tests need two of its methods


@pytest.fixture
async def channel(servicer: Behaving) -> AsyncIterator[MeshChannel]:
    async with channel_for(service(servicer)) as channel:
        yield channel


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def _ready() -> None:
    return


async def approve(channel: MeshChannel, name: str, timeout: float = 5) -> None:
    async with translated("tools"):
        await rpc.ToolsServiceStub(channel).ApproveDefinition(
            pb.ApproveDefinitionRequest(name=name, definition_hash="h"), timeout=timeout
        )


async def test_an_error_arrives_as_the_class_that_was_raised(channel: MeshChannel) -> None:
    with pytest.raises(ToolNotFound) as caught:
        await approve(channel, "missing")

    assert caught.value.facts == {"tool": "missing"}
    assert caught.value.code is Code.NOT_FOUND


async def test_an_invalid_field_is_named_in_the_details(channel: MeshChannel) -> None:
    with pytest.raises(AioRpcError) as caught:
        await rpc.ToolsServiceStub(channel).ApproveDefinition(
            pb.ApproveDefinitionRequest(name="wrong", definition_hash="h"), timeout=5
        )

    status = rpc_status.from_call(caught.value)
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in status.details)
    assert [violation.field for violation in request.field_violations] == ["name"]


async def test_a_request_that_breaks_a_rule_of_its_proto_never_reaches_the_servicer(
    servicer: Behaving, channel: MeshChannel
) -> None:
    servicer.remaining = -1.0

    with pytest.raises(InvalidArgument) as caught:
        await approve(channel, "")

    assert caught.value.facts["field"] == "name"
    assert servicer.remaining == -1.0


async def test_an_overload_says_when_to_come_back(channel: MeshChannel) -> None:
    with pytest.raises(Overloaded) as caught:
        await approve(channel, "busy")

    assert caught.value.retry_after == 2.5
    assert caught.value.retryable


async def test_an_overload_tells_grpcs_own_retries_when_to_come_back(channel: MeshChannel) -> None:
    with pytest.raises(AioRpcError) as caught:
        await rpc.ToolsServiceStub(channel).ApproveDefinition(
            pb.ApproveDefinitionRequest(name="busy", definition_hash="h"), timeout=5
        )

    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "2500"


async def test_whoever_the_library_turns_away_in_a_flood_may_come_back(channel: MeshChannel) -> None:
    """Of thousands of calls at one moment it cancels most that its server has not taken yet."""
    answers = await asyncio.gather(*(approve(channel, "missing", 30) for _ in range(_FLOOD)), return_exceptions=True)

    assert Counter(map(type, answers)).keys() == {ToolNotFound, Unavailable}
    assert all(error.retryable for error in answers if isinstance(error, Unavailable))


async def test_a_defect_tells_the_caller_nothing(channel: MeshChannel) -> None:
    with pytest.raises(Internal) as caught:
        await approve(channel, "defect")

    assert "passwd" not in str(caught.value)


async def test_a_stray_cancellation_ends_the_rpc_instead_of_hanging_the_caller(channel: MeshChannel) -> None:
    with pytest.raises(Aborted):
        await approve(channel, "cancelled")


async def test_a_call_ends_at_its_deadline(channel: MeshChannel) -> None:
    with pytest.raises(DeadlineExceeded):
        await approve(channel, "hangs", timeout=0.2)


async def test_a_callee_gets_no_more_time_than_its_caller_has(servicer: Behaving, channel: MeshChannel) -> None:
    with deadline.within(3):
        await approve(channel, "fine", timeout=60)

    assert servicer.remaining is not None
    assert 0 < servicer.remaining <= 3


async def test_the_ids_of_a_request_travel_with_its_calls(servicer: Behaving, channel: MeshChannel) -> None:
    ids = {"request_id": "r1", "thread_id": "t1", "run_id": "n1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    with bound_ids(**ids):
        await approve(channel, "fine")

    assert servicer.ids == ids


async def test_a_trace_that_cannot_be_one_goes_no_further(servicer: Behaving, channel: MeshChannel) -> None:
    with bound_ids(request_id="r1", traceparent="00-zz-zz-01"):
        await approve(channel, "fine")

    assert servicer.ids == {"request_id": "r1"}


async def test_leaving_a_stream_stops_its_servicer(servicer: Behaving, channel: MeshChannel) -> None:
    call = rpc.ToolsServiceStub(channel).WatchTools(pb.WatchToolsRequest(), timeout=30)
    async with aclosing(translated_stream(call, peer="tools")) as responses:
        async for response in responses:
            if response.sequence == 3:
                break

    async with asyncio.timeout(5):
        await servicer.stream_closed.wait()


async def test_an_error_in_the_middle_of_a_stream_follows_what_was_sent(channel: MeshChannel) -> None:
    received = []
    call = rpc.ToolsServiceStub(channel).WatchTools(pb.WatchToolsRequest(after_sequence=1), timeout=30)

    with pytest.raises(ToolNotFound):
        async with aclosing(translated_stream(call, peer="tools")) as responses:
            async for response in responses:
                received.append(response.sequence)

    assert received == [1, 2, 3]


async def test_a_peer_that_goes_silent_is_taken_for_dead(servicer: Behaving, channel: MeshChannel) -> None:
    received = []
    call = rpc.ToolsServiceStub(channel).WatchTools(pb.WatchToolsRequest(), timeout=30)

    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="tools service went silent"):
            async for response in translated_stream(call, peer="tools", silence_seconds=0.05):
                received.append(response.sequence)
                if len(received) == 2:
                    await asyncio.sleep(0.2)  # a slow reader does not make the peer silent
        await servicer.stream_closed.wait()

    assert received == [1, 2, 3]


async def test_a_reader_that_is_cancelled_is_not_told_of_silence(channel: MeshChannel) -> None:
    call = rpc.ToolsServiceStub(channel).WatchTools(pb.WatchToolsRequest(), timeout=30)
    waits = asyncio.Event()

    async def read() -> None:
        async with aclosing(translated_stream(call, peer="tools", silence_seconds=30)) as responses:
            async for response in responses:
                if response.sequence == 3:
                    waits.set()

    reading = asyncio.create_task(read())
    await waits.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert reading.cancelled()


async def test_an_unreachable_peer_is_named() -> None:
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(Unreachable, match="tools"):
            await approve(channel, "fine", timeout=5)


async def test_a_peer_that_goes_away_in_the_middle_was_reached(servicer: Behaving, free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    async with AsyncExitStack() as stack:
        life = await stack.enter_async_context(AsyncExitStack())
        await life.enter_async_context(
            serve([service(servicer)], address=address, registry=new_registry(), ping=_ready)
        )
        channel = await stack.enter_async_context(connect(address))
        asking = asyncio.create_task(approve(channel, "hangs"))
        await servicer.called.wait()
        await life.aclose()
        with pytest.raises(Unavailable) as caught:
            await asking

    assert type(caught.value) is Unavailable


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
        (grpc.StatusCode.UNKNOWN, "Stream removed (TSI_DATA_CORRUPTED)"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
)
def test_a_connection_that_is_lost_is_no_defect_of_anybody(code: grpc.StatusCode, details: str) -> None:
    """In whatever words the library says it; the request may have arrived."""
    raw = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)

    assert type(from_rpc_error(raw, peer="context")) is Unavailable


async def test_a_channel_does_not_wait_out_the_failures_of_another(servicer: Behaving, free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    async with connect(address) as earlier:
        with pytest.raises(Unavailable):
            await approve(earlier, "anything")
        async with (
            serve([service(servicer)], address=address, registry=new_registry(), ping=_ready),
            connect(address) as channel,
        ):
            with pytest.raises(ToolNotFound):
                await approve(channel, "missing")


async def test_health_is_told_for_each_service_and_for_the_whole(channel: MeshChannel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "threadmesh.api.tools.v1.ToolsService"):
        async with asyncio.timeout(5):
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
            while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                pass
            watch.cancel()


@pytest.mark.parametrize("reason", [cls.reason for cls in MeshError.__subclasses__()])
def test_every_reason_is_restored_as_its_own_class(reason: str) -> None:
    restored = MeshError.restore(reason=reason, code=Code.UNKNOWN, message="", retryable=False, facts={})

    assert type(restored).reason == reason
