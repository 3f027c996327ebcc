"""What happens without anybody asking."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.measured_store import MeasuredStore, StoreMetrics
from context_svc.adapters.memory_store import MemoryStore
from context_svc.domain.ports import Census
from context_svc.domain.retention import Retention
from context_svc.domain.run import RunState
from context_svc.edge.housekeeper import Housekeeper
from context_svc.edge.upkeep import Upkeep
from tests.context_svc.given import claimed, queued, running
from threadmesh.errors import StoreUnavailable
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store(clock: FakeClock, registry: CollectorRegistry) -> MeasuredStore:
    return MeasuredStore(MemoryStore(clock), StoreMetrics(registry, kind="memory"))


def keeper(store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry) -> Housekeeper:
    return Housekeeper(store, registry, Upkeep(store, clock, registry, Retention()), counted=store.metrics.counted)


async def test_lost_runs_are_ended_and_counted(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    run, next_one = await running(store, clock, "k"), await queued(store, "k")
    clock.advance(9)

    await keeper(store, clock, registry).look()

    assert (await store.run(run.id)).state is RunState.FAILED
    assert (await store.run(next_one.id)).state is RunState.FAILED
    assert registry.get_sample_value("threadmesh_context_lease_expirations_total") == 2
    assert registry.get_sample_value("threadmesh_context_runs_ended_total", {"state": "failed"}) == 2


async def test_the_gauges_show_what_the_store_holds(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    await claimed(store, clock, await queued(store, "k"))
    await queued(store, "k")
    clock.advance(3)

    await keeper(store, clock, registry).look()

    assert registry.get_sample_value("threadmesh_context_threads") == 1
    assert registry.get_sample_value("threadmesh_context_runs", {"state": "running"}) == 1
    assert registry.get_sample_value("threadmesh_context_runs", {"state": "queued"}) == 1
    assert registry.get_sample_value("threadmesh_context_run_oldest_unclaimed_seconds") == 3


class FlakyStore(MemoryStore):
    """Cannot be reached when it is counted for the first time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.counted = 0

    async def census(self) -> Census:
        self.counted += 1
        if self.counted == 1:
            raise StoreUnavailable
        return await super().census()


async def test_a_store_that_cannot_be_reached_is_looked_after_again_later(
    clock: FakeClock, registry: CollectorRegistry
) -> None:
    seen = asyncio.Event()
    flaky = FlakyStore(clock)
    upkeep = Upkeep(flaky, clock, registry, Retention())
    keeping = Housekeeper(flaky, registry, upkeep, counted=lambda _: seen.set())

    async with asyncio.timeout(30), keeping.keeping():
        await seen.wait()
