"""A real server and a channel to it, for tests of an edge: milliseconds, no mocks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from threadmesh.rpc.channel import MeshChannel, connect
from threadmesh.rpc.server import Service, serve
from threadmesh.telemetry.metrics import new_registry


@asynccontextmanager
async def channel_for(*services: Service) -> AsyncIterator[MeshChannel]:
    """Serve the services on a free loopback port, everything around them as in production, and connect to it."""
    async with (
        serve(services, address="127.0.0.1:0", registry=new_registry(), ping=_ready) as server,
        connect(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


async def _ready() -> None:
    return
