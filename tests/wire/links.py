"""A server behind secured links, and callers with certificates of a real authority."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tests.threadmesh.servicers import Behaving, service
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as rpc
from threadmesh.links.authority import (
    AUTHORITY,
    Pair,
    certificate_path,
    issue,
    key_path,
    new_authority,
    read_authority,
    write_pair,
)
from threadmesh.links.link import ClientLink, ServerLink, TlsFiles
from threadmesh.rpc.channel import MeshChannel, connect, translated
from threadmesh.rpc.server import serve
from threadmesh.telemetry.metrics import new_registry


class Certificates:
    """A directory with an authority, and certificates of members as they are asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = datetime.now(UTC)
        self.replace_authority()

    def replace_authority(self) -> None:
        """Take another authority, which nobody trusts yet whose files were made before."""
        write_pair(self.directory, AUTHORITY, new_authority(self.now))

    @property
    def authority(self) -> Pair:
        found = read_authority(self.directory)
        assert found
        return found

    def files(self, member: str, *, days: int = 365) -> TlsFiles:
        """Make a member's certificate, in place of one that there is, and give its files."""
        write_pair(self.directory, member, issue(self.authority, member, self.now, days=days))
        return TlsFiles(
            certificate=certificate_path(self.directory, member),
            key=key_path(self.directory, member),
            authorities=certificate_path(self.directory, AUTHORITY),
        )

    def trust_only(self) -> TlsFiles:
        """Give the files of a caller without a certificate."""
        return TlsFiles(authorities=certificate_path(self.directory, AUTHORITY))


@asynccontextmanager
async def served(
    link: ServerLink, servicer: Behaving, *, registry: CollectorRegistry | None = None
) -> AsyncIterator[str]:
    """Serve tools with this link; gives the target."""
    registry = registry or new_registry()
    async with serve([service(servicer)], address="127.0.0.1:0", registry=registry, ping=_ready, link=link) as server:
        yield f"127.0.0.1:{server.port}"


@asynccontextmanager
async def calling(target: str, link: ClientLink) -> AsyncIterator[MeshChannel]:
    """Open a channel to tools."""
    async with connect(target, link, peer="tools") as channel:
        yield channel


async def approve(channel: MeshChannel, name: str = "fine") -> None:
    """Make a call that only operators may make."""
    async with translated("tools"):
        request = pb.ApproveDefinitionRequest(name=name, definition_hash="h")
        await rpc.ToolsServiceStub(channel).ApproveDefinition(request, timeout=10)


async def watch(channel: MeshChannel) -> Sequence[int]:
    """Read the three messages of a stream that only operators may open."""
    async with translated("tools"):
        call: Any = rpc.ToolsServiceStub(channel).WatchTools(pb.WatchToolsRequest(), timeout=10)
        received = [(await call.read()).sequence for _ in range(3)]
        call.cancel()
        return received


async def _ready() -> None:
    return
