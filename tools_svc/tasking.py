"""Builds what has tasks carried: their store, their runner, and who looks after them."""

import os
import socket
from asyncio import Event
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry

from threadmesh.clock import SystemClock
from threadmesh.retry_budget import RetryBudget
from threadmesh.settings import ConfigurationError
from tools_svc.adapters.inline_runner import InlineRunner
from tools_svc.adapters.memory_tasks import MemoryTasks
from tools_svc.adapters.prometheus_tasks import TaskMetrics
from tools_svc.adapters.server_config import ServerConfig
from tools_svc.adapters.sql_tasks import sql_tasks
from tools_svc.domain.carry import TaskCarrier
from tools_svc.domain.dispatch import TaskDispatcher
from tools_svc.domain.fleet import Fleet
from tools_svc.domain.ports import CallListener, TaskRunner, TaskStore
from tools_svc.domain.task_book import TaskBook
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.tool import ServerState
from tools_svc.domain.watch import CatalogueWatcher
from tools_svc.settings import Runner, ToolsSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasking:
    """The tasks, and the work that must run for anything to happen to them."""

    tasks: Tasks
    work: Sequence[Coroutine[Any, Any, None]]


@asynccontextmanager
async def queue(
    settings: ToolsSettings,
    fleet: Fleet[ServerConfig],
    watcher: CatalogueWatcher,
    started: Event,
    *,
    calls: CallListener,
    registry: CollectorRegistry,
) -> AsyncIterator[Tasking]:
    """Open the tasks of tools_svc, which carries them itself or has workers do it."""
    metrics = TaskMetrics(registry)
    async with task_store(settings) as store:
        book = TaskBook(store, retries=RetryBudget(SystemClock()))

        async def reach(server: str) -> bool:
            await started.wait()
            return await reached(watcher, server)

        carrying = carrier(settings, book, fleet, watcher, reach=reach, calls=calls, tasks=metrics)
        runner = _workers(settings) if settings.task_runner is Runner.CELERY else _inline(settings, carrying)
        dispatcher = TaskDispatcher(book, runner, clock=SystemClock(), listener=metrics)
        tasks = Tasks(book, runner, clock=SystemClock(), on_defect=log_defect)
        work = [dispatcher.run(), *([runner.run()] if isinstance(runner, InlineRunner) else [])]
        yield Tasking(tasks=tasks, work=work)


def task_store(settings: ToolsSettings) -> AbstractAsyncContextManager[TaskStore]:
    """Open the store that the settings name; raises `ConfigurationError`."""
    place = settings.task_store or f"sqlite:{settings.state_dir / 'tasks.db'}"
    return nullcontext(MemoryTasks()) if place == "memory:" else sql_tasks(place)


def carrier(
    settings: ToolsSettings,
    book: TaskBook,
    fleet: Fleet[ServerConfig],
    watcher: CatalogueWatcher,
    *,
    reach: Callable[[str], Awaitable[bool]],
    calls: CallListener,
    tasks: TaskMetrics,
) -> TaskCarrier:
    """Give this process's carrier of tasks."""
    return TaskCarrier(
        book,
        fleet.sources,
        catalogue=lambda: watcher.catalogue,
        reach=reach,
        owner=f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}",
        lease_seconds=settings.task_lease_seconds,
        clock=SystemClock(),
        calls=calls,
        tasks=tasks,
        on_defect=log_defect,
    )


async def reached(watcher: CatalogueWatcher, name: str, *, joining: bool = False) -> bool:
    """Wait until a server can be called, or give False because it cannot be reached now.

    One that is not there is no reason to wait, unless `joining` says that it is about to be added.
    """
    async with aclosing(watcher.states()) as states:
        async for _, catalogue in states:
            found = [server.state for server in catalogue.servers if server.name == name]
            if ServerState.CONNECTING in found or (joining and not found):
                continue
            return ServerState.UNAVAILABLE not in found
    return False


def log_defect(error: Exception) -> None:
    """Log an error that is nobody's but ours."""
    log.error("defect", exc_info=error)


def broker(settings: ToolsSettings) -> str:
    """Give the address of the broker."""
    return settings.task_broker or f"filesystem://{settings.state_dir.expanduser().absolute() / 'broker'}"


def require_workers(settings: ToolsSettings) -> None:
    """Raise `ConfigurationError` unless there can be workers with these settings."""
    if find_spec("celery") is None:
        raise ConfigurationError("TOOLS_TASK_RUNNER: Celery is missing; install threadmesh[celery].")
    if settings.task_store == "memory:":
        raise ConfigurationError("TOOLS_TASK_STORE: workers cannot share tasks that are kept in memory.")


def _workers(settings: ToolsSettings) -> TaskRunner:
    require_workers(settings)
    from tools_svc.adapters.celery_runner import CeleryRunner, celery_for  # noqa: PLC0415  # Celery is an extra

    return CeleryRunner(celery_for(broker(settings)))


def _inline(settings: ToolsSettings, carrying: TaskCarrier) -> InlineRunner:
    return InlineRunner(carrying.carry, carrying.stop, parallel=settings.task_parallel, on_defect=log_defect)
