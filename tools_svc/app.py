"""Builds tools_svc from its settings."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
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
from tools_svc.adapters.server_config import ServerConfig, StdioServer
from tools_svc.adapters.servers_file import read_capabilities
from tools_svc.domain.capability import Ranked
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.catalog import Dropped
from tools_svc.domain.execute import Executor
from tools_svc.domain.fleet import Fleet
from tools_svc.domain.pins import Pins
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.shadowing import warnings
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge.servicer import ToolsServicer
from tools_svc.members import enabled_servers, member, servers_file, together
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
    policies = PolicyMetrics(registry, on_breaker=watcher.note_breaker)
    metrics.unapproved.set_function(lambda: len(watcher.catalogue.quarantined))
    fleet: Fleet[ServerConfig] = Fleet(partial(member, settings, metrics, policies), watcher)
    capabilities = _capabilities(file, settings, fleet, watcher)
    started = asyncio.Event()
    problems: list[str] = []
    async with queue(settings, fleet, watcher, started, calls=metrics, registry=registry) as tasking:
        executor = _executor(fleet, watcher, started, tasking.tasks, metrics)
        beginning = _begin(watcher, started, seconds=settings.startup_wait_seconds)
        wanted = _wanted(file, servers, metrics, capabilities, problems)
        following = together(partial(watcher.follow, capabilities), partial(_refreshing, watcher, capabilities))
        # The fleet before the beginning, which waits for the servers that are there.
        work = (executor.run(), fleet.run(wanted), following, beginning, *tasking.work)
        async with _alongside(*work) as alive:
            service = _service(watcher, executor, tasking.tasks, metrics, capabilities=capabilities, problems=problems)
            yield Unit(services=[service], ping=partial(_ping, alive, started))


def _executor(
    fleet: Fleet[ServerConfig], watcher: CatalogueWatcher, started: asyncio.Event, tasks: Tasks, metrics: ToolMetrics
) -> Executor:
    return Executor(
        fleet.sources,
        catalogue=lambda: watcher.catalogue,
        settled=started.wait,
        tasks=tasks,
        clock=SystemClock(),
        listener=metrics,
        on_defect=log_defect,
    )


def _capabilities(
    file: Path, settings: ToolsSettings, fleet: Fleet[ServerConfig], watcher: CatalogueWatcher
) -> CapabilitySource:
    """Make the source of capabilities, beside those of the servers."""
    source = CapabilitySource(fleet.sources, catalogue=lambda: watcher.catalogue, clock=SystemClock())
    source.define(read_capabilities(file))
    fleet.sources[source.name] = source
    policy = ServerPolicy(timeout_seconds=settings.call_timeout_seconds, hints_trusted=True, pinned=False)
    watcher.add(source, policy)
    return source


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
        clock=SystemClock(),
        on_dropped=_log_dropped,
        on_quarantined=listener.quarantined,
    )


async def _wanted(
    file: Path,
    servers: Mapping[str, ServerConfig],
    metrics: ToolMetrics,
    capabilities: CapabilitySource,
    problems: list[str],
) -> AsyncGenerator[Mapping[str, ServerConfig], None]:
    """Give the servers, and again whenever the file has changed or one of functions.

    Errors change nothing; they stand in `problems` while there are any.
    """
    yield servers
    watched = [file, *_function_files(servers)]
    async for _ in changes(lambda: watched):
        try:
            servers, capable = enabled_servers(file), read_capabilities(file)
        except ConfigurationError as error:
            problems[:] = error.message.splitlines()
            log.error("servers_file.refused", problems=problems)
            metrics.file_refused.set(1)
        else:
            log.info("servers_file.read", servers=sorted(servers))
            problems.clear()
            metrics.file_refused.set(0)
            watched[1:] = _function_files(servers)
            capabilities.define(capable)
            yield servers


def _function_files(servers: Mapping[str, ServerConfig]) -> list[Path]:
    transports = [server.transport for server in servers.values()]
    return [each.functions for each in transports if isinstance(each, StdioServer) and each.functions]


async def _refreshing(watcher: CatalogueWatcher, capabilities: CapabilitySource) -> None:
    """Keep the capabilities' effects true to those of their tools, and tell once of tools to look at."""
    told: set[tuple[str, str]] = set()
    async with aclosing(watcher.states()) as states:
        async for _, catalogue in states:
            capabilities.refresh()
            now = {(name, reason) for name, reasons in warnings(catalogue).items() for reason in reasons}
            for name, reason in sorted(now - told):
                log.warning("tool.suspicious", tool=name, reason=reason)
            told = now


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


def _service(
    watcher: CatalogueWatcher,
    executor: Executor,
    tasks: Tasks,
    metrics: ToolMetrics,
    *,
    capabilities: CapabilitySource,
    problems: Sequence[str],
) -> Service:
    def ranks() -> list[tuple[str, list[Ranked]]]:
        return [(each.name, capabilities.ranking(each)) for each in capabilities.capabilities]

    return Service(
        servicer=ToolsServicer(
            watcher=watcher,
            executor=executor,
            tasks=tasks,
            on_batch=metrics.batch,
            capabilities=ranks,
            problems=lambda: problems,
        ),
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
