"""Builds tools_svc from its settings."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import add_ToolsServiceServicer_to_server
from threadmesh.clock import SystemClock
from threadmesh.errors import Internal, ToolServerUnavailable
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.file_changes import changes
from tools_svc.adapters.json_pins import JsonPins
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.pin_log import PinLog
from tools_svc.adapters.prometheus_metrics import ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import ServerConfig
from tools_svc.domain.catalog import Dropped
from tools_svc.domain.execute import Executor
from tools_svc.domain.fleet import Fleet
from tools_svc.domain.pins import Pins
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge.servicer import ToolsServicer
from tools_svc.members import enabled_servers, member, servers_file
from tools_svc.settings import ToolsSettings
from tools_svc.tasking import log_defect, queue

log = structlog.get_logger()


@asynccontextmanager
async def app(settings: ToolsSettings, registry: CollectorRegistry) -> AsyncIterator[Unit]:
    """Build the service; everything started here is stopped here.

    It is ready once its servers have started or failed to, and after a few seconds whatever they do: a server that is
    away costs its own tools only.
    """
    file = servers_file(settings)
    servers = enabled_servers(file)
    metrics = ToolMetrics(registry, servers=frozenset(servers))
    watcher = _watcher(settings)
    fleet: Fleet[ServerConfig] = Fleet(partial(member, settings, metrics, PolicyMetrics(registry)), watcher)
    started = asyncio.Event()
    async with queue(settings, fleet, watcher, started, calls=metrics, registry=registry) as tasking:
        executor = Executor(
            fleet.sources,
            catalogue=lambda: watcher.catalogue,
            settled=started.wait,
            tasks=tasking.tasks,
            clock=SystemClock(),
            listener=metrics,
            on_defect=log_defect,
        )
        beginning = _begin(watcher, started, seconds=settings.startup_wait_seconds)
        # The fleet before the beginning, which waits for the servers that are there.
        work = (executor.run(), fleet.run(_wanted(file, servers, metrics)), beginning, *tasking.work)
        async with _alongside(*work) as alive:
            service = _service(watcher, executor, tasking.tasks, metrics)
            yield Unit(services=[service], ping=partial(_ping, alive, started))


def _watcher(settings: ToolsSettings) -> CatalogueWatcher:
    listener = PinLog()
    pins = Pins(
        JsonPins(settings.state_dir / "pins.json"),
        changes=settings.definition_changes,
        clock=SystemClock(),
        listener=listener,
    )
    return CatalogueWatcher(
        [],
        policies={},
        schemas=JsonSchemaCompiler(),
        pins=pins,
        on_dropped=_log_dropped,
        on_quarantined=listener.quarantined,
    )


async def _wanted(
    file: Path, servers: Mapping[str, ServerConfig], metrics: ToolMetrics
) -> AsyncGenerator[Mapping[str, ServerConfig], None]:
    """Give the servers, and again whenever the file has changed; one with errors changes nothing."""
    yield servers
    async for _ in changes(file):
        try:
            servers = enabled_servers(file)
        except ConfigurationError as error:
            log.error("servers_file.refused", problems=error.message.splitlines())
            metrics.file_refused.set(1)
        else:
            log.info("servers_file.read", servers=sorted(servers))
            metrics.file_refused.set(0)
            yield servers


async def _ping(alive: Callable[[], None], started: asyncio.Event) -> None:
    alive()
    if not started.is_set():
        raise ToolServerUnavailable("The tool servers are starting.")


async def _begin(watcher: CatalogueWatcher, started: asyncio.Event, *, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watcher.settled()
    started.set()


@asynccontextmanager
async def _alongside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[Callable[[], None]]:
    """Let the work run beside the block; gives a check that fails once any of it has failed."""
    tasks = [asyncio.create_task(each) for each in work]

    def alive() -> None:
        if any(task.done() and (task.cancelled() or task.exception()) for task in tasks):
            raise Internal

    try:
        yield alive
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log_defect(result)


def _service(watcher: CatalogueWatcher, executor: Executor, tasks: Tasks, metrics: ToolMetrics) -> Service:
    return Service(
        servicer=ToolsServicer(watcher=watcher, executor=executor, tasks=tasks, on_batch=metrics.batch),
        add=add_ToolsServiceServicer_to_server,
        name=pb.DESCRIPTOR.services_by_name["ToolsService"].full_name,
    )


def _log_dropped(dropped: Dropped) -> None:
    log.warning(
        "tool.dropped",
        server=dropped.server,
        tool=dropped.tool[:200],
        reason=dropped.failure.reason,
        message=dropped.failure.message,
        **{f"fact_{name}": value for name, value in dropped.failure.facts.items()},
    )
