"""Builds tools_svc from its settings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from mcp.client import Transport
from prometheus_client import CollectorRegistry

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import add_ToolsServiceServicer_to_server
from threadmesh.clock import SystemClock
from threadmesh.errors import Internal, ToolServerUnavailable
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.lifeline import Lifeline
from tools_svc.adapters.mcp_http import http_transport
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.mcp_stdio import stdio_transport
from tools_svc.adapters.prometheus_metrics import MeteredSource, ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.server_config import HttpServer, ServerConfig, StdioServer
from tools_svc.adapters.servers_file import DEFAULT, read_servers
from tools_svc.domain.catalog import Dropped
from tools_svc.domain.execute import Executor
from tools_svc.domain.govern import govern
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.edge.servicer import ToolsServicer
from tools_svc.settings import ToolsSettings

log = structlog.get_logger()


@asynccontextmanager
async def app(settings: ToolsSettings, registry: CollectorRegistry) -> AsyncIterator[Unit]:
    """Build the service; everything started here is stopped here.

    It is ready once its servers have started or failed to, and after a few seconds whatever they do: a server that is
    away costs its own tools only.
    """
    servers = [each for each in read_servers(_servers_file(settings)) if not each.disabled]
    names = frozenset(each.name for each in servers)
    metrics = ToolMetrics(registry, servers=names)
    connections = [_source(each, settings) for each in servers]
    policies = {each.name: _policy(each, settings) for each in servers}
    governing = partial(govern, clock=SystemClock(), listener=PolicyMetrics(registry, servers=names))
    sources = {each.name: governing(MeteredSource(each, metrics), policies[each.name]) for each in connections}
    watcher = _watcher(sources, policies)
    executor = Executor(
        sources,
        catalogue=lambda: watcher.catalogue,
        clock=SystemClock(),
        listener=metrics,
        on_defect=_log_defect,
    )
    started = asyncio.Event()
    beginning = _begin(watcher, started, seconds=settings.startup_wait_seconds)
    async with _alongside(executor.run(), watcher.run(), beginning, *(each.run() for each in connections)) as alive:
        yield Unit(services=[_service(watcher, executor, metrics)], ping=partial(_ping, alive, started))


def _watcher(sources: Mapping[str, ToolSource], policies: Mapping[str, ServerPolicy]) -> CatalogueWatcher:
    return CatalogueWatcher(
        list(sources.values()),
        policies=policies,
        schemas=JsonSchemaCompiler(),
        on_dropped=_log_dropped,
    )


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


def _service(watcher: CatalogueWatcher, executor: Executor, metrics: ToolMetrics) -> Service:
    return Service(
        servicer=ToolsServicer(watcher=watcher, executor=executor, on_batch=metrics.batch),
        add=add_ToolsServiceServicer_to_server,
        name=pb.DESCRIPTOR.services_by_name["ToolsService"].full_name,
    )


def _servers_file(settings: ToolsSettings) -> Path:
    return Path(settings.servers_file).expanduser() if settings.servers_file else DEFAULT


def _source(server: ServerConfig, settings: ToolsSettings) -> McpSource:
    return McpSource(
        server.name,
        partial(_transport, server),
        clock=SystemClock(),
        connect_seconds=settings.connect_timeout_seconds,
    )


def _transport(server: ServerConfig, lifeline: Lifeline) -> Transport:
    match server.transport:
        case StdioServer() as stdio:
            return stdio_transport(server.name, stdio, lifeline)
        case HttpServer() as http:
            return http_transport(http, lifeline)


def _policy(server: ServerConfig, settings: ToolsSettings) -> ServerPolicy:
    return ServerPolicy(
        timeout_seconds=server.timeout_seconds or settings.call_timeout_seconds,
        effects=server.effects,
        max_parallel=server.max_parallel,
        rate=server.rate,
        tools=server.tools,
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


def _log_defect(error: Exception) -> None:
    log.error("defect", exc_info=error)
