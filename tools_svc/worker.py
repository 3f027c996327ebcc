"""Runs a worker, which carries tasks for tools_svc and shares its settings: `python -m tools_svc.worker`."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import CancelledError
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry

from threadmesh.clock import SystemClock
from threadmesh.errors import MeshError
from threadmesh.retry_budget import RetryBudget
from threadmesh.settings import CONFIGURATION_EXIT_STATUS, ConfigurationError
from threadmesh.telemetry import logs
from threadmesh.telemetry.metrics import new_registry
from threadmesh.telemetry.pages import metrics_server
from tools_svc.adapters.followed_servers import enabled
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.memory_pins import MemoryPins
from tools_svc.adapters.pin_log import PinLog
from tools_svc.adapters.prometheus_metrics import ToolMetrics
from tools_svc.adapters.prometheus_policies import PolicyMetrics
from tools_svc.adapters.prometheus_tasks import TaskMetrics
from tools_svc.adapters.server_config import ServerConfig
from tools_svc.domain.carry import TaskCarrier
from tools_svc.domain.fleet import Fleet
from tools_svc.domain.latest import Latest
from tools_svc.domain.pins import Changes, Pins, Suspicious
from tools_svc.domain.task import Ticket
from tools_svc.domain.task_book import TaskBook
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.members import member, servers_file
from tools_svc.settings import Runner, ToolsSettings
from tools_svc.tasking import broker, carrier, log_defect, reached, require_workers, task_store

log = structlog.get_logger()


def main() -> None:
    """Carry tasks until SIGTERM or SIGINT; exits with 78 and one line a problem when the configuration is wrong."""
    try:
        settings = ToolsSettings.load()
        logs.configure(unit="worker", level=settings.log_level, for_good=True)
        run(settings)
    except ConfigurationError as error:
        print(f"worker: configuration: {error.message}", file=sys.stderr)  # noqa: T201  # logs may not exist yet
        sys.exit(CONFIGURATION_EXIT_STATUS)


def run(settings: ToolsSettings) -> None:
    """Carry tasks until a signal comes; those under way then get the drain's time, and are given back after it."""
    if settings.task_runner is not Runner.CELERY:
        raise ConfigurationError("TOOLS_TASK_RUNNER: workers have nothing to do unless it is celery.")
    require_workers(settings)
    from tools_svc.adapters.celery_runner import celery_for, work  # noqa: PLC0415  # Celery is an extra

    registry = new_registry()
    with (
        metrics_server(registry, listen=settings.listen, port=settings.worker_metrics_port) as port,
        Hands(settings, registry) as hands,
    ):
        log.info("worker.starting", pid=os.getpid(), metrics_port=port, settings=settings.effective())
        name = f"threadmesh@{socket.gethostname()}-{os.getpid()}"
        celery = celery_for(broker(settings))
        work(celery, hands.carry, name=name, parallel=settings.task_parallel, on_stopping=hands.drain)
    log.info("worker.stopped")


class Hands:
    """One event loop in a thread of its own, with the worker's connections to servers, made at their first task."""

    def __init__(self, settings: ToolsSettings, registry: CollectorRegistry) -> None:
        """Raises `ConfigurationError` for a servers file with errors."""
        self._settings = settings
        self._servers = enabled(servers_file(settings))
        self._metrics = ToolMetrics(registry, servers=frozenset())
        self._watcher = _watcher()
        self._policies = PolicyMetrics(registry, on_breaker=self._watcher.note_breaker)
        self._tasks = TaskMetrics(registry)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="hands")
        self._drained: threading.Timer | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drained is not None:
            self._drained.cancel()
        self._set(self._stopping)
        self._set(self._closing)
        self._thread.join()

    def carry(self, ticket: Ticket) -> bool:
        """Carry a task to its end, or until the worker stops; called by the threads of Celery.

        False if the worker is stopping already, so that the ticket must go to another one.
        """
        try:
            return asyncio.run_coroutine_threadsafe(self._carry(ticket), self._loop).result()
        except CancelledError:
            log.info("task.given_back", run_id=ticket.key.run_id, call_id=ticket.key.call_id)
        except MeshError as error:
            log.warning("task.not_taken", reason=error.reason, message=error.message)
        return True

    def drain(self) -> None:
        """Give the tasks under way some time to end."""
        self._drained = threading.Timer(self._settings.drain_seconds, self._set, [self._stopping])
        self._drained.start()

    def _set(self, event: asyncio.Event) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)

    def _live(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001  # without its hands a worker must not take tasks
            self._failure = error
            if self._ready.is_set():
                log_defect(error)
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._closing = asyncio.Event(), asyncio.Event()
        self._needed: Latest[frozenset[str]] = Latest(frozenset())
        self._carrying: set[asyncio.Task[Any] | None] = set()
        build = partial(member, self._settings, self._metrics, self._policies)
        fleet: Fleet[ServerConfig] = Fleet(build, self._watcher)
        async with task_store(self._settings) as store, asyncio.TaskGroup() as tasks:
            self._carrier = self._carrier_of(TaskBook(store, retries=RetryBudget(SystemClock())), fleet)
            keeping = tasks.create_task(fleet.run(self._wanted()))
            self._ready.set()
            await self._stopping.wait()
            under_way = [each for each in self._carrying if each is not None]
            for each in under_way:
                each.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await self._closing.wait()
            keeping.cancel()

    def _carrier_of(self, book: TaskBook, fleet: Fleet[ServerConfig]) -> TaskCarrier:
        return carrier(
            self._settings,
            book,
            fleet,
            self._watcher,
            reach=self._reach,
            calls=self._metrics,
            tasks=self._tasks,
        )

    async def _carry(self, ticket: Ticket) -> bool:
        if self._stopping.is_set():
            return False
        task = asyncio.current_task()
        self._carrying.add(task)
        try:
            await self._carrier.carry(ticket)
        finally:
            self._carrying.discard(task)
        return True

    async def _reach(self, server: str) -> bool:
        known = server in self._servers
        if known and server not in self._needed.value:
            self._needed.set(self._needed.value | {server})
        return await reached(self._watcher, server, joining=known)

    async def _wanted(self) -> AsyncGenerator[Mapping[str, ServerConfig], None]:
        async with aclosing(self._needed.states()) as states:
            async for _, needed in states:
                yield {name: self._servers[name] for name in sorted(needed)}


def _watcher() -> CatalogueWatcher:
    """Watch without pins: each task says which definition it was made for."""
    listener = PinLog()
    return CatalogueWatcher(
        schemas=JsonSchemaCompiler(),
        pins=Pins(
            MemoryPins(), changes=Changes.ACCEPT, suspicious=Suspicious.OFFER, clock=SystemClock(), listener=listener
        ),
        clock=SystemClock(),
        on_dropped=lambda _: None,
        on_quarantined=listener.quarantined,
    )


if __name__ == "__main__":
    main()
