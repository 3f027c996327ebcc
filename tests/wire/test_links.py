"""Who may call what over links with mTLS, and what becomes of them when certificates are replaced or end."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.threadmesh.servicers import Behaving
from tests.wire.links import Certificates, approve, calling, served, watch
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as rpc
from threadmesh.errors import CallerUnknown, Code, LinkUntrusted, MethodRefused, Unavailable, Unreachable
from threadmesh.links.link import PLAINTEXT, ClientLink, ServerLink
from threadmesh.rpc.channel import translated
from threadmesh.settings import ConfigurationError
from threadmesh.telemetry.metrics import new_registry


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def strangers(tmp_path: Path) -> Certificates:
    """Certificates of an authority that nobody here trusts."""
    return Certificates(tmp_path / "strangers")


@pytest.fixture
def servicer() -> Behaving:
    return Behaving()  # type: ignore[abstract]  # the tests need two of its methods


@pytest.fixture
def registry() -> CollectorRegistry:
    return new_registry()


@pytest.fixture
async def target(certificates: Certificates, servicer: Behaving, registry: CollectorRegistry) -> AsyncIterator[str]:
    """A tools service that knows its callers by their certificates."""
    async with served(ServerLink(files=certificates.files("tools")), servicer, registry=registry) as address:
        yield address


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


def of(certificates: Certificates, member: str) -> ClientLink:
    return ClientLink(files=certificates.files(member))


async def test_a_member_may_call_what_the_table_gives_it(target: str, certificates: Certificates) -> None:
    async with calling(target, of(certificates, "cli")) as channel:
        await approve(channel)
        assert await watch(channel) == [1, 2, 3]


async def test_a_right_certificate_with_a_wrong_method_is_refused_with_details(
    target: str, certificates: Certificates, servicer: Behaving
) -> None:
    async with calling(target, of(certificates, "facade")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = pb.ApproveDefinitionRequest(name="hangs", definition_hash="h")
            await rpc.ToolsServiceStub(channel).ApproveDefinition(request, timeout=10)

    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(caught.value)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "METHOD_REFUSED"
    assert (info.metadata["caller"], info.metadata["method"]) == ("facade", "ApproveDefinition")
    assert not servicer.called.is_set()


async def test_a_stream_is_refused_before_its_first_message(target: str, certificates: Certificates) -> None:
    async with calling(target, of(certificates, "facade")) as channel:
        with pytest.raises(MethodRefused):
            await watch(channel)


async def test_refusals_are_logged_with_their_reason_and_counted(
    target: str, certificates: Certificates, registry: CollectorRegistry, logged: list[EventDict]
) -> None:
    async with calling(target, of(certificates, "envoy_of_another_mesh")) as channel:
        with pytest.raises(CallerUnknown):
            await approve(channel)
    async with calling(target, of(certificates, "context")) as channel:
        with pytest.raises(Unreachable):  # its certificate is for serving
            await approve(channel)
    async with calling(target, of(certificates, "facade")) as channel:
        with pytest.raises(MethodRefused):
            await approve(channel)

    refusals = [
        (line["caller"], line["method"].rpartition("/")[2]) for line in logged if line["event"] == "link.refused"
    ]
    assert refusals == [("unknown", "ApproveDefinition"), ("facade", "ApproveDefinition")]
    counted = "threadmesh_link_refusals_total"
    assert registry.get_sample_value(counted, {"caller": "unknown", "reason": "CALLER_UNKNOWN"}) == 1
    assert registry.get_sample_value(counted, {"caller": "facade", "reason": "METHOD_REFUSED"}) == 1


async def test_a_caller_without_a_certificate_gets_no_connection(
    target: str, certificates: Certificates, servicer: Behaving
) -> None:
    for link in (ClientLink(files=certificates.trust_only()), PLAINTEXT):
        async with calling(target, link) as channel:
            with pytest.raises(Unreachable):
                await approve(channel, "hangs")
    assert not servicer.called.is_set()


async def test_a_certificate_of_another_authority_gets_no_connection(
    target: str, certificates: Certificates, strangers: Certificates, servicer: Behaving
) -> None:
    mixed = replace(strangers.files("cli"), authorities=certificates.trust_only().authorities)
    async with calling(target, ClientLink(files=mixed)) as channel:
        with pytest.raises(Unreachable):
            await approve(channel, "hangs")
    assert not servicer.called.is_set()


async def test_a_server_that_the_caller_does_not_trust_gets_no_request(
    target: str, strangers: Certificates, servicer: Behaving, logged: list[EventDict]
) -> None:
    async with calling(target, of(strangers, "cli")) as channel:
        with pytest.raises(LinkUntrusted, match="tools"):
            await approve(channel, "hangs")
    assert not servicer.called.is_set()
    assert any("CERTIFICATE_VERIFY_FAILED" in line["problem"] for line in logged if line["event"] == "link.untrusted")


async def test_another_unit_of_the_mesh_is_not_taken_for_the_one_that_is_called(
    certificates: Certificates, servicer: Behaving
) -> None:
    async with (
        served(ServerLink(files=certificates.files("context")), servicer) as target,
        calling(target, of(certificates, "cli")) as channel,
    ):
        with pytest.raises(LinkUntrusted):
            await approve(channel, "hangs")
    assert not servicer.called.is_set()


async def test_health_and_reflection_are_for_every_member_and_channelz_for_operators(
    target: str, certificates: Certificates
) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with calling(target, of(certificates, "facade")) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=10)
        listed = [each.name async for answer in reflected for each in answer.list_services_response.service]
        with pytest.raises(MethodRefused):
            await servers(channel)
    assert health.status != health_pb2.HealthCheckResponse.UNKNOWN
    assert "threadmesh.api.tools.v1.ToolsService" in listed
    async with calling(target, of(certificates, "cli")) as channel:
        assert (await servers(channel)).server


async def servers(channel: grpc.aio.Channel) -> channelz_pb2.GetServersResponse:
    async with translated("tools"):
        return await channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest(), timeout=10)


async def test_a_stranger_to_the_mesh_may_not_even_ask_for_health(target: str, certificates: Certificates) -> None:
    async with calling(target, of(certificates, "prometheus")) as channel:
        with pytest.raises(CallerUnknown):
            async with translated("tools"):
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)


async def test_an_expired_certificate_of_a_server_is_told_with_its_reason(
    certificates: Certificates, servicer: Behaving, logged: list[EventDict]
) -> None:
    """It was valid when the server started."""
    link = ServerLink(files=certificates.files("tools"))
    async with served(link, servicer) as target:
        certificates.files("tools", days=-1)
        async with calling(target, of(certificates, "cli")) as channel:
            with pytest.raises(LinkUntrusted):
                await approve(channel)

    problems = [line["problem"] for line in logged if line["event"] == "link.untrusted"]
    assert problems
    assert "certificate has expired" in problems[0]
    ends = [line for line in logged if line["event"] == "link.certificate_expired"]
    assert [line["certificate"] for line in ends] == [str(link.files.certificate)]


async def test_an_expired_certificate_of_a_caller_is_told_in_the_callers_log(
    target: str, certificates: Certificates, logged: list[EventDict]
) -> None:
    async with calling(target, of(certificates, "cli")) as channel:
        await approve(channel)
        certificates.files("cli", days=-1)
        with pytest.raises(Unreachable):
            await approve(channel)

    ends = [line for line in logged if line["event"] == "link.certificate_expired"]
    assert [line["member"] for line in ends] == ["cli"]


async def test_nothing_starts_with_an_expired_certificate(certificates: Certificates, servicer: Behaving) -> None:
    with pytest.raises(ConfigurationError, match=r"tools\.pem: the certificate has expired on"):
        async with served(ServerLink(files=certificates.files("tools", days=-1)), servicer):
            pass
    with pytest.raises(ConfigurationError, match=r"cli\.pem: the certificate has expired on"):
        async with calling("127.0.0.1:1", ClientLink(files=certificates.files("cli", days=-1))):
            pass


async def test_all_certificates_are_replaced_while_both_ends_run_and_a_stream_goes_on(
    target: str, certificates: Certificates, servicer: Behaving
) -> None:
    async with calling(target, of(certificates, "cli")) as channel:
        stub = rpc.ToolsServiceStub(channel)
        stream: Any = stub.WatchTools(pb.WatchToolsRequest(), timeout=30)
        assert (await stream.read()).sequence == 1

        certificates.replace_authority()
        certificates.files("tools")
        certificates.files("cli")
        await stub.ApproveDefinition(pb.ApproveDefinitionRequest(name="fine", definition_hash="h"), timeout=10)

        assert [(await stream.read()).sequence for _ in range(2)] == [2, 3]
        stream.cancel()
    async with calling(target, of(certificates, "cli")) as newcomer:
        await approve(newcomer)


async def test_a_certificate_whose_key_has_not_come_yet_is_waited_for(
    target: str, certificates: Certificates, logged: list[EventDict]
) -> None:
    link = of(certificates, "cli")
    assert link.files.key
    async with calling(target, link) as channel:
        await approve(channel)
        former = link.files.key.read_bytes()
        certificates.files("cli")
        latter = link.files.key.read_bytes()
        link.files.key.write_bytes(former)
        await approve(channel)
        link.files.key.write_bytes(latter)
        await approve(channel)

    events = [line["event"] for line in logged if line["event"].startswith("link.files")]
    assert events == ["link.files_not_taken", "link.files_replaced"]


async def test_bytes_that_are_changed_on_the_way_break_the_connection_and_are_never_taken(
    target: str, certificates: Certificates
) -> None:
    async with flipping(target) as proxy, calling(proxy.target, of(certificates, "cli")) as channel:
        await approve(channel)
        proxy.flips.set()
        with pytest.raises(Unavailable) as caught:
            await approve(channel)
    assert caught.value.code is Code.UNAVAILABLE


class Flipping(ThreadingTCPServer):
    """A proxy that changes one bit of whatever the server sends once `flips` is set."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Pair)
        host, _, port = target.rpartition(":")
        self.server = (host, int(port))
        self.target = f"127.0.0.1:{self.server_address[1]}"
        self.flips = threading.Event()


class Pair(BaseRequestHandler):
    server: Flipping

    def handle(self) -> None:
        with socket.create_connection(self.server.server) as upstream:
            upward = threading.Thread(target=pump, args=(self.request, upstream))
            upward.start()
            pump(upstream, self.request, self.server.flips)
            upward.join()


def pump(source: socket.socket, sink: socket.socket, flips: threading.Event | None = None) -> None:
    """Pass bytes on until either end is closed, and close both ways then."""
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(bytes([*chunk[:-1], chunk[-1] ^ 1]) if flips and flips.is_set() else chunk)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def flipping(target: str) -> AsyncIterator[Flipping]:
    """Run the proxy until the block ends; who calls over it has closed its connections by then."""
    proxy = Flipping(target)
    serving = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield proxy
    finally:
        await asyncio.to_thread(proxy.shutdown)
        await asyncio.to_thread(proxy.server_close)
        serving.join()
