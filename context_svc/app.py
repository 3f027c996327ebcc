"""context_svc, put together: the only place that knows all its parts."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry

from context_svc.adapters.measured_store import MeasuredStore, StoreMetrics
from context_svc.adapters.memory_store import MemoryStore
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.ports import Store
from context_svc.domain.retention import Retention, parse_rules
from context_svc.edge.housekeeper import Housekeeper
from context_svc.edge.metrics import EdgeMetrics
from context_svc.edge.runs_servicer import RunsServicer
from context_svc.edge.threads_servicer import ThreadsServicer
from context_svc.edge.upkeep import Upkeep
from context_svc.settings import ContextSettings
from threadmesh.api.context.v1 import runs_service_pb2, threads_service_pb2
from threadmesh.api.context.v1.runs_service_pb2_grpc import add_RunsServiceServicer_to_server
from threadmesh.api.context.v1.threads_service_pb2_grpc import add_ThreadsServiceServicer_to_server
from threadmesh.clock import Clock, SystemClock
from threadmesh.errors import InvalidArgument
from threadmesh.rpc.server import Service
from threadmesh.rpc.unit import Unit
from threadmesh.settings import ConfigurationError


def _sqlite(place: str, settings: ContextSettings, clock: Clock) -> AbstractAsyncContextManager[Store]:
    return sqlite_store(Path(place).expanduser(), clock, allow_unsafe=settings.allow_unsafe_store)


def _postgres(place: str, settings: ContextSettings, _: Clock) -> AbstractAsyncContextManager[Store]:
    try:
        from context_svc.adapters.postgres_store import postgres_store  # noqa: PLC0415  # its driver is an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "CONTEXT_STORE: the driver for PostgreSQL is missing; install threadmesh[postgres]."
        ) from error
    return postgres_store(place, allow_unsafe=settings.allow_unsafe_store, patience=settings.store_seconds)


def _redis(place: str, settings: ContextSettings, _: Clock) -> AbstractAsyncContextManager[Store]:
    try:
        from context_svc.adapters.redis_store import redis_store  # noqa: PLC0415  # its driver is an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "CONTEXT_STORE: the driver for Redis is missing; install threadmesh[redis]."
        ) from error
    return redis_store(place, allow_unsafe=settings.allow_unsafe_store, patience=settings.store_seconds)


STORES: dict[str, Callable[[str, ContextSettings, Clock], AbstractAsyncContextManager[Store]]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    "redis": _redis,
    "memory": lambda _, __, clock: nullcontext(MemoryStore(clock)),
}


@asynccontextmanager
async def app(
    settings: ContextSettings, registry: CollectorRegistry, clock: Clock | None = None
) -> AsyncIterator[Unit]:
    """Build the unit; everything opened here is closed here."""
    clock = clock or SystemClock()
    retention = retention_of(settings)
    kind, _, place = settings.store.partition(":")
    async with STORES[kind](place, settings, clock) as plain:
        metrics = StoreMetrics(registry, kind=kind)
        store = MeasuredStore(plain, metrics)
        upkeep = Upkeep(store, clock, registry, retention)
        keeper = Housekeeper(store, registry, upkeep, counted=metrics.counted)
        async with keeper.keeping():
            yield Unit(services=services(store, clock, EdgeMetrics(registry), retention), ping=store.ping)


def retention_of(settings: ContextSettings) -> Retention:
    """Give what is kept; raises `ConfigurationError` for a rule that cannot be read."""
    try:
        rules = parse_rules(settings.retention)
    except InvalidArgument as error:
        raise ConfigurationError(f"CONTEXT_RETENTION: {error.message}") from error
    return Retention(rules=rules, event_lifetime=timedelta(seconds=settings.event_seconds))


def services(store: Store, clock: Clock, metrics: EdgeMetrics, retention: Retention) -> list[Service]:
    """Give what context_svc serves out of a store."""
    return [
        Service(
            servicer=ThreadsServicer(store, clock, metrics, retention),
            add=add_ThreadsServiceServicer_to_server,
            name=threads_service_pb2.DESCRIPTOR.services_by_name["ThreadsService"].full_name,
        ),
        Service(
            servicer=RunsServicer(store, clock, metrics),
            add=add_RunsServiceServicer_to_server,
            name=runs_service_pb2.DESCRIPTOR.services_by_name["RunsService"].full_name,
        ),
    ]
