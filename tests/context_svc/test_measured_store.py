"""A store that is measured counts what it did and failed to do."""

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.measured_store import MeasuredStore, StoreMetrics
from context_svc.adapters.memory_store import MemoryStore
from tests.context_svc.given import appended, claimed, finished, running
from threadmesh.errors import RunNotFound, StaleEpoch, StoreUnavailable
from threadmesh.testing.clock import FakeClock


class BrokenStore(MemoryStore):
    async def ping(self) -> None:
        raise StoreUnavailable


def measured(store: MemoryStore) -> tuple[MeasuredStore, CollectorRegistry]:
    registry = CollectorRegistry()
    return MeasuredStore(store, StoreMetrics(registry, kind="memory")), registry


async def test_events_are_counted_when_they_are_stored(clock: FakeClock) -> None:
    store, registry = measured(MemoryStore(clock))
    run = await appended(store, await running(store, clock), b"a", b"b", b"c")
    await finished(store, run, b"d")

    assert registry.get_sample_value("threadmesh_context_events_appended_total") == 4
    assert registry.get_sample_value("threadmesh_context_commit_batch_events_count") == 2
    assert registry.get_sample_value("threadmesh_context_runs_ended_total", {"state": "succeeded"}) == 1
    changes = {"store": "memory", "operation": "change"}
    assert registry.get_sample_value("threadmesh_context_store_operation_duration_seconds_count", changes) == 4


async def test_fenced_writes_are_counted_apart_from_errors(clock: FakeClock) -> None:
    store, registry = measured(MemoryStore(clock))
    old = await running(store, clock)
    clock.advance(5)
    await claimed(store, clock, old)
    with pytest.raises(StaleEpoch):
        await appended(store, old, b"x")
    with pytest.raises(RunNotFound):
        await store.run("run_none")

    assert registry.get_sample_value("threadmesh_context_fenced_writes_total") == 1
    assert registry.get_sample_value("threadmesh_context_events_appended_total") == 0
    assert not [each for each in registry.collect() if each.name.endswith("store_errors") and each.samples]


async def test_failures_of_the_store_are_counted(clock: FakeClock) -> None:
    store, registry = measured(BrokenStore(clock))

    with pytest.raises(StoreUnavailable):
        await store.ping()

    labels = {"store": "memory", "operation": "ping", "reason": "store_unavailable"}
    assert registry.get_sample_value("threadmesh_context_store_errors_total", labels) == 1
