"""Builds tools_svc from its settings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
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
from threadmesh.gateway.server import Gateway
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from threadmesh.telemetry.loop_lag import watch_loop
from tools_svc.adapters.followed_servers import enabled, wanted
from tools_svc.adapters.json_pins import JsonPins
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.pin_log import PinLog, log_suspicious
from tools_svc.adapters.prometheus_metrics import ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import ServerConfig
from tools_svc.adapters.servers_file import read_capabilities
from tools_svc.domain.capability import Ranked
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.consult import Reader
from tools_svc.domain.execute import Executor
from tools_svc.domain.fleet import Fleet
from tools_svc.domain.pins import Pins
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.shadowing import warnings
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.telling import LONGEST_DESCRIPTION
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge.local_tools import LocalTools
from tools_svc.edge.mcp_gateway import Door, HttpGateway
from tools_svc.edge.servicer import ToolsServicer
from tools_svc.members import member, servers_file, together
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
    servers = enabled(file)
    metrics = ToolMetrics(registry, servers=frozenset(servers))
    watcher = _watcher(settings)
    policies = PolicyMetrics(registry, on_breaker=watcher.note_breaker)
    metrics.unapproved.set_function(lambda: len(watcher.catalogue.quarantined))
    fleet: Fleet[ServerConfig] = Fleet(partial(member, settings, metrics, policies), watcher)
    capabilities = _capabilities(file, settings, fleet, watcher)
    started = asyncio.Event()
    problems: list[str] = []
    note = partial(_note_problems, metrics, problems)
    followed = wanted(file, servers, on_capabilities=capabilities.define, on_problems=note)
    reader = Reader(fleet.sources, catalogue=lambda: watcher.catalogue)
    async with queue(settings, fleet, watcher, started, calls=metrics, registry=registry) as tasking:
        executor = _executor(
            fleet=fleet,
            watcher=watcher,
            capabilities=capabilities,
            started=started,
            tasks=tasking.tasks,
            metrics=metrics,
            answer_seconds=settings.answer_seconds,
        )
        local = LocalTools(watcher=watcher, executor=executor, reader=reader, on_batch=metrics.batch)
        gateway = _gateway(settings, local)
        beginning = _begin(watcher, started, seconds=settings.startup_wait_seconds)
        following = together(partial(watcher.follow, capabilities), partial(_refreshing, watcher, capabilities))
        # The fleet before the beginning, which waits for the servers that are there.
        watching = watch_loop(registry, unit="tools")
        work = [executor.run(), fleet.run(followed), following, beginning, watching, *tasking.work]
        servicer = ToolsServicer(
            watcher=watcher,
            executor=executor,
            tasks=tasking.tasks,
            reader=reader,
            on_batch=metrics.batch,
            capabilities=partial(_ranks, capabilities),
            problems=lambda: problems,
        )
        async with _alongside(*work, *([gateway.run()] if gateway else [])) as alive:
            try:
                yield Unit(services=[_service(servicer)], ping=partial(_ping, alive, started))
            finally:
                if gateway:
                    await gateway.drain(settings.drain_seconds)


def _executor(
    *,
    fleet: Fleet[ServerConfig],
    watcher: CatalogueWatcher,
    capabilities: CapabilitySource,
    started: asyncio.Event,
    tasks: Tasks,
    metrics: ToolMetrics,
    answer_seconds: float,
) -> Executor:
    return Executor(
        fleet.sources,
        catalogue=lambda: watcher.catalogue,
        settled=started.wait,
        tasks=tasks,
        substitutes=capabilities,
        clock=SystemClock(),
        listener=metrics,
        on_defect=log_defect,
        answer_seconds=answer_seconds,
    )


def _capabilities(
    file: Path, settings: ToolsSettings, fleet: Fleet[ServerConfig], watcher: CatalogueWatcher
) -> CapabilitySource:
    """Make the source of capabilities, beside those of the servers."""
    source = CapabilitySource(fleet.sources, catalogue=lambda: watcher.catalogue, clock=SystemClock())
    source.define(read_capabilities(file))
    fleet.sources[source.name] = source
    policy = ServerPolicy(
        timeout_seconds=settings.call_timeout_seconds,
        hints_trusted=True,
        pinned=False,
        description_characters=LONGEST_DESCRIPTION,
    )
    watcher.add(source, policy)
    return source


def _note_problems(metrics: ToolMetrics, problems: list[str], found: Sequence[str]) -> None:
    problems[:] = found
    metrics.file_refused.set(bool(found))


def _watcher(settings: ToolsSettings) -> CatalogueWatcher:
    listener = PinLog()
    pins = Pins(
        JsonPins(settings.state_dir / "pins.json"),
        changes=settings.definition_changes,
        suspicious=settings.suspicious_definitions,
        clock=SystemClock(),
        listener=listener,
    )
    return CatalogueWatcher(
        schemas=JsonSchemaCompiler(),
        pins=pins,
        clock=SystemClock(),
        on_dropped=listener.dropped,
        on_quarantined=listener.quarantined,
    )


async def _refreshing(watcher: CatalogueWatcher, capabilities: CapabilitySource) -> None:
    """Keep the capabilities' effects true to those of their tools, and tell once of tools to look at."""
    told: set[tuple[str, str]] = set()
    async with aclosing(watcher.states()) as states:
        async for _, catalogue in states:
            capabilities.refresh()
            now = {(name, reason) for name, reasons in warnings(catalogue).items() for reason in reasons}
            log_suspicious(sorted(now - told))
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


def _gateway(settings: ToolsSettings, tools: LocalTools) -> HttpGateway | None:
    if settings.gateway_port is None:
        return None
    token = settings.gateway_token.get_secret_value()
    door = Door(listen=settings.gateway_listen, port=settings.gateway_port, token=token, hosts=settings.hosts())
    return HttpGateway(Gateway(tools), door)


def _service(servicer: ToolsServicer) -> Service:
    name = pb.DESCRIPTOR.services_by_name["ToolsService"].full_name
    return Service(servicer=servicer, add=add_ToolsServiceServicer_to_server, name=name)


def _ranks(capabilities: CapabilitySource) -> list[tuple[str, list[Ranked]]]:
    return [(each.name, capabilities.ranking(each)) for each in capabilities.capabilities]
