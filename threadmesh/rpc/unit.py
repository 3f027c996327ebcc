"""How a unit lives: settings, logs, metrics, its parts, its port, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry, Gauge

from threadmesh.loop import run_process, spare_collections
from threadmesh.rpc.server import Service, serve
from threadmesh.settings import CONFIGURATION_EXIT_STATUS, ConfigurationError, UnitSettings
from threadmesh.telemetry import logs
from threadmesh.telemetry.metrics import installed_version, new_registry
from threadmesh.telemetry.pages import Readiness, metrics_server

log = structlog.get_logger()

Settings = TypeVar("Settings", bound=UnitSettings)
App = Callable[[Settings, CollectorRegistry], AbstractAsyncContextManager["Unit"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What an app built: its services, and `ping`, which raises a `MeshError` while they cannot serve."""

    services: Sequence[Service]
    ping: Callable[[], Awaitable[None]]


def main(unit: str, settings: type[Settings], app: App[Settings]) -> None:
    """Run a unit until SIGTERM or SIGINT; exits with 78 and one line a problem when its configuration is wrong."""
    try:
        chosen = settings.load()
        logs.configure(unit=unit, level=chosen.log_level, for_good=True)
        run_process(run(chosen, app))
    except ConfigurationError as error:
        print(f"{unit}: configuration: {error.message}", file=sys.stderr)  # noqa: T201  # logs may not exist yet
        sys.exit(CONFIGURATION_EXIT_STATUS)


async def run(settings: Settings, app: App[Settings]) -> None:
    """Serve until a signal comes, then drain; a second signal cuts what still runs. Raises `ConfigurationError`."""
    link = settings.server_link()
    registry, readiness = new_registry(), Readiness()
    draining = Gauge("threadmesh_draining", "1 while running requests get time to end.", registry=registry)
    stop = stop_on_signals()
    log.info("unit.starting", version=installed_version(), pid=os.getpid(), settings=settings.effective())
    pages = metrics_server(registry, listen=settings.listen, port=settings.metrics_port, readiness=readiness)
    with pages as metrics_port:
        async with (
            app(settings, registry) as built,
            serve(
                built.services,
                address=f"{settings.listen}:{settings.port}",
                registry=registry,
                ping=built.ping,
                reflect=settings.reflection,
                link=link,
                on_health=readiness.note,
            ) as server,
        ):
            spare_collections()
            log.info("unit.listening", port=server.port, metrics_port=metrics_port)
            await stop.wait()
            draining.set(1)
            log.info("unit.draining", seconds=settings.drain_seconds)
            stop.clear()
            readiness.note(serving=False)
            await _first(server.drain(settings.drain_seconds), stop.wait())
    log.info("unit.stopped")


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _first(*waits: Awaitable[object]) -> None:
    """Wait for whichever ends first and give up the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
