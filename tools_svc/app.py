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
from tools_svc.adapters.followed_servers import enabled, wanted
from tools_svc.adapters.json_pins import JsonPins
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.mcp_servers import configured_source
from tools_svc.adapters.pin_log import PinLog
from tools_svc.adapters.prometheus_metrics import MeteredSource, ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import ServerConfig, server_policy
from tools_svc.adapters.servers_file import DEFAULT, read_capabilities
from tools_svc.adapters.webhook_listener import WebhookListener
from tools_svc.domain.capability import Ranked
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.catalog import Dropped
from tools_svc.domain.consult import Reader
from tools_svc.domain.execute import Executor
from tools_svc.domain.fleet import Fleet, Member
from tools_svc.domain.govern import govern
from tools_svc.domain.pins import Pins
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.shadowing import warnings
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge.local_tools import LocalTools
from tools_svc.edge.mcp_gateway import Door, HttpGateway
from tools_svc.edge.servicer import ToolsServicer
from tools_svc.settings import ToolsSettings

log = structlog.get_logger()


@asynccontextmanager
async def app(settings: ToolsSettings, registry: CollectorRegistry) -> AsyncIterator[Unit]:
    """Build the service; everything started here is stopped here.

    It is ready once its servers have started or failed to, and after a few seconds whatever they do: a server that is
    away costs its own tools only.
    """
    file = _servers_file(settings)
    servers = enabled(file)
    metrics = ToolMetrics(registry, servers=frozenset(servers))
    watcher = _watcher(settings)
    policies = PolicyMetrics(registry, on_breaker=watcher.note_breaker)
    metrics.unapproved.set_function(lambda: len(watcher.catalogue.quarantined))
    fleet: Fleet[ServerConfig] = Fleet(partial(_member, settings, metrics, policies), watcher)
    capabilities = _capabilities(file, settings, fleet, watcher)
    started = asyncio.Event()
    executor = _executor(fleet, watcher, started, metrics)
    beginning = _begin(watcher, started, seconds=settings.startup_wait_seconds)
    problems: list[str] = []
    note = partial(_note_problems, metrics, problems)
    followed = wanted(file, servers, on_capabilities=capabilities.define, on_problems=note)
    following = _together(partial(watcher.follow, capabilities), partial(_refreshing, watcher, capabilities))
    reader = Reader(fleet.sources, catalogue=lambda: watcher.catalogue)
    gateway = _gateway(settings, LocalTools(watcher=watcher, executor=executor, reader=reader, on_batch=metrics.batch))
    # The fleet before the beginning, which waits for the servers that are there.
    work = [executor.run(), fleet.run(followed), following, beginning, *([gateway.run()] if gateway else [])]
    servicer = ToolsServicer(
        watcher=watcher,
        executor=executor,
        reader=reader,
        on_batch=metrics.batch,
        capabilities=partial(_ranks, capabilities),
        problems=lambda: problems,
    )
    async with _alongside(*work) as alive:
        try:
            yield Unit(services=[_service(servicer)], ping=partial(_ping, alive, started))
        finally:
            if gateway:
                await gateway.drain(settings.drain_seconds)


def _executor(
    fleet: Fleet[ServerConfig], watcher: CatalogueWatcher, started: asyncio.Event, metrics: ToolMetrics
) -> Executor:
    return Executor(
        fleet.sources,
        catalogue=lambda: watcher.catalogue,
        settled=started.wait,
        clock=SystemClock(),
        listener=metrics,
        on_defect=_log_defect,
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


def _note_problems(metrics: ToolMetrics, problems: list[str], found: Sequence[str]) -> None:
    problems[:] = found
    metrics.file_refused.set(bool(found))


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


def _member(settings: ToolsSettings, metrics: ToolMetrics, policies: PolicyMetrics, server: ServerConfig) -> Member:
    metrics.know(server.name)
    policies.know(server.name)
    policy = server_policy(server, call_seconds=settings.call_timeout_seconds)
    hooks = {(server.name, method): hook for method, hook in server.notifications.items()}
    webhooks = WebhookListener(hooks, count=metrics.notification)
    source = configured_source(server, webhooks, connect_seconds=settings.connect_timeout_seconds)
    return Member(
        source=govern(MeteredSource(source, metrics), policy, clock=SystemClock(), listener=policies),
        policy=policy,
        run=partial(_together, source.run, webhooks.run),
    )


async def _together(*work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each())


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
                _log_defect(result)


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


def _servers_file(settings: ToolsSettings) -> Path:
    return Path(settings.servers_file).expanduser() if settings.servers_file else DEFAULT


def _log_dropped(dropped: Dropped) -> None:
    log.warning(
        "tool.dropped",
        server=dropped.server,
        tool=dropped.tool[:200],
        reason=dropped.failure.reason,
        message=dropped.failure.message,
        **{f"fact_{name}": value for name, value in dropped.failure.facts.items()},
    )


def _log_defect(error: Exception) -> None:
    log.error("defect", exc_info=error)
