"""A gRPC server as every unit runs one."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from threadmesh.errors import MeshError
from threadmesh.links.link import OPEN, ServerLink
from threadmesh.links.server import Door
from threadmesh.ports import is_listened_on
from threadmesh.rpc.interceptors import EdgeInterceptor
from threadmesh.rpc.keepalive import KEEPALIVE, Keepalive
from threadmesh.settings import ConfigurationError
from threadmesh.telemetry.metrics import LinkMetrics, ServerMetrics

log = structlog.get_logger()

MESSAGE_BYTES = 4 * 1024 * 1024
_PING_SECONDS = 1.0
_BIND_SECONDS = 70.0
"""A closed connection can hold a port for 60 seconds."""
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # Our clients ping every 30 s also without calls; the default of 300 s would answer them with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two servers on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A servicer, its full proto name, and the generated function that adds it to a server."""

    servicer: Any
    add: Callable[[Any, Any], None]
    name: str


@dataclass(slots=True, kw_only=True)
class RunningServer:
    """A server that accepts calls on `port`; `health` can be told that it is about to stop."""

    port: int
    server: grpc.aio.Server
    health: health.aio.HealthServicer

    async def drain(self, seconds: float) -> None:
        """Refuse new calls, let running ones end for `seconds`, then cut them."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(seconds)


@asynccontextmanager
async def serve(
    services: Sequence[Service],
    *,
    address: str,
    registry: CollectorRegistry,
    ping: Callable[[], Awaitable[None]],
    reflect: bool = True,
    link: ServerLink = OPEN,
    on_health: Callable[[bool], object] = bool,
    keepalive: Keepalive = KEEPALIVE,
) -> AsyncIterator[RunningServer]:
    """Serve `services` on `address` (`host:port`) until the block ends, with health, reflection and channelz.

    Health is SERVING, for each service and for the whole, while `ping` returns and NOT_SERVING while it raises;
    `on_health` is told each time it was asked. `link` says who may call. Raises `ConfigurationError`.
    """
    door = Door(link, LinkMetrics(registry))
    edge = EdgeInterceptor(ServerMetrics(registry), door.guard)
    server = grpc.aio.server(interceptors=[edge], options=[*_OPTIONS, *keepalive.options, *door.options])
    servicer = _add_services(server, services, reflect=reflect)
    port = await _bind(server, address, door)
    door.announce(address)
    await _set_health(servicer, services, serving=False)
    await server.start()
    watchers = [
        asyncio.create_task(_watch_health(servicer, services, ping, on_health), name="health"),
        asyncio.create_task(door.watch(), name="certificate"),
    ]
    try:
        yield RunningServer(port=port, server=server, health=servicer)
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await server.stop(0)


def _add_services(server: grpc.aio.Server, services: Sequence[Service], *, reflect: bool) -> health.aio.HealthServicer:
    for service in services:
        service.add(service.servicer, server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if reflect:
        names = [service.name for service in services]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        channelz.add_channelz_servicer(server)
    return servicer


async def _bind(server: grpc.aio.Server, address: str, door: Door) -> int:
    """Take the port, waiting while only a closed connection still holds it.

    Raises `ConfigurationError` when another process listens on it, or when it stays unusable.
    """
    port = int(address.rpartition(":")[2])
    ends = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            return door.bind(server, address)
        except RuntimeError as error:
            if not port or is_listened_on(port) or time.monotonic() > ends:
                raise ConfigurationError(f"{address} cannot be listened on; is another process using it?") from error
        log.info("port.waiting", port=port)
        await asyncio.sleep(_BIND_SECONDS / 60)


async def _watch_health(
    servicer: health.aio.HealthServicer,
    services: Sequence[Service],
    ping: Callable[[], Awaitable[None]],
    on_health: Callable[[bool], object],
) -> None:
    was_serving: bool | None = None
    while True:
        serving = await _answers(ping)
        on_health(serving)
        if serving is not was_serving:
            await _set_health(servicer, services, serving=serving)
            log.info("health.changed", serving=serving)
        was_serving = serving
        await asyncio.sleep(_PING_SECONDS if serving else _PING_SECONDS / 5)


async def _answers(ping: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(_PING_SECONDS * 5):
            await ping()
    except (MeshError, TimeoutError) as error:
        log.debug("health.ping_failed", error=str(error))
        return False
    return True


async def _set_health(servicer: health.aio.HealthServicer, services: Sequence[Service], *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ["", *(service.name for service in services)]:
        await servicer.set(name, status)
