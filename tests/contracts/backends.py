"""The backends that the contract suites test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import CollectorRegistry

from inference_svc.adapters.lazy_backend import Keeping, LazyBackend
from inference_svc.adapters.measured_backend import MeasuredLoads, Metrics
from inference_svc.adapters.quarantined_backend import Quarantine, QuarantinedBackend
from inference_svc.adapters.script import Script
from inference_svc.adapters.scripted_backend import ScriptedBackend
from inference_svc.domain.ports import Backend
from tests.inference_svc.engines import bundled
from threadmesh.testing.clock import FakeClock


def scripted() -> Backend:
    return ScriptedBackend(Script(context_tokens=1024), created=1)


def llama_cpp() -> Backend:
    return bundled()[0]


class Loaded(ScriptedBackend):
    """A scripted backend that is loaded when it is needed."""

    def __init__(self) -> None:
        super().__init__(Script(context_tokens=1024), created=1)
        self._closed = asyncio.Event()

    async def until_stopped(self) -> None:
        await self._closed.wait()

    async def close(self) -> None:
        self._closed.set()


async def loaded() -> Loaded:
    return Loaded()


@asynccontextmanager
async def lazy() -> AsyncIterator[Backend]:
    """A backend that has loaded nothing yet."""
    async with asyncio.TaskGroup() as tasks:
        backend = LazyBackend(
            scripted().describe(),
            loaded,
            tasks=tasks,
            clock=FakeClock(),
            observer=MeasuredLoads(Metrics(CollectorRegistry()), model="lazy"),
            keeping=Keeping(),
        )
        yield backend
        await backend.close()


@asynccontextmanager
async def quarantined() -> AsyncIterator[Backend]:
    """A backend that keeps on record what it answers."""
    with TemporaryDirectory() as directory:
        quarantine = Quarantine(Path(directory), clock=FakeClock())
        yield QuarantinedBackend(scripted(), quarantine)
        quarantine.close()


@asynccontextmanager
async def opened(make: Callable[[], Backend]) -> AsyncIterator[Backend]:
    yield await asyncio.to_thread(make)


BACKENDS = [
    pytest.param(partial(opened, scripted), id="scripted"),
    pytest.param(lazy, id="lazy"),
    pytest.param(quarantined, id="quarantined"),
    pytest.param(partial(opened, llama_cpp), id="llama_cpp", marks=pytest.mark.model),
]
