"""Keeping a store small: what is due, and when."""

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters.measured_store import MeasuredStore, StoreMetrics
from context_svc.adapters.memory_store import MemoryStore
from context_svc.domain.append_items import append_items
from context_svc.domain.cancel import cancel
from context_svc.domain.ports import Store
from context_svc.domain.resolve import resolve
from context_svc.domain.retention import Retention, parse_rules
from context_svc.edge.upkeep import Upkeep
from tests.context_svc.given import appended, finished, queued, running, said, whole_log
from threadmesh.errors import EventLogExpired, RunNotFound
from threadmesh.testing.clock import FakeClock


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store(clock: FakeClock, registry: CollectorRegistry) -> MeasuredStore:
    return MeasuredStore(MemoryStore(clock), StoreMetrics(registry, kind="memory"))


def deleted(registry: CollectorRegistry, kind: str) -> float | None:
    return registry.get_sample_value("threadmesh_context_retention_deleted_total", {"kind": kind})


async def turns(store: Store, key: str, count: int) -> str:
    thread = (await resolve(key, metadata={}, store=store)).thread
    items = tuple(said(str(number)) for number in range(count))
    await append_items(thread.id, items, request_id="", fingerprint="", store=store)
    return thread.id


async def kept(store: Store, thread_id: str) -> int:
    return len(await store.items(thread_id, after=None, limit=1000, descending=False))


async def test_what_has_expired_is_forgotten_once_a_minute(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(store, clock, registry, Retention())
    await upkeep.tidy()
    run = await finished(store, await running(store, clock))
    clock.advance(59)
    await upkeep.tidy()
    clock.advance(24 * 3600)

    await upkeep.tidy()

    with pytest.raises(RunNotFound):
        await store.run(run.id)
    assert deleted(registry, "ephemeral_thread") == 1
    last = registry.get_sample_value("threadmesh_context_retention_last_success_timestamp_seconds")
    assert last == clock.now().timestamp()


async def test_events_are_forgotten_a_while_after_their_run_has_ended(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(store, clock, registry, Retention(event_lifetime=timedelta(hours=1)))
    run = await finished(store, await appended(store, await running(store, clock, "k"), b"a"), b"b")
    clock.advance(3600)
    await upkeep.tidy()
    assert len(await whole_log(store, run.id)) == 3

    clock.advance(61)
    await upkeep.tidy()

    with pytest.raises(EventLogExpired):
        await whole_log(store, run.id)
    assert deleted(registry, "event_log") == 1
    assert registry.get_sample_value("threadmesh_context_runs_ended_total", {"state": "succeeded"}) == 1


@pytest.mark.parametrize(("rules", "seconds"), [("", 3600), ("other max_items=3", 3600), ("* max_age=10m", 600)])
async def test_input_that_never_entered_its_thread_goes_with_events_or_sooner_by_a_rule(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry, rules: str, seconds: int
) -> None:
    retention = Retention(rules=parse_rules(rules), event_lifetime=timedelta(hours=1))
    upkeep = Upkeep(store, clock, registry, retention)
    await running(store, clock, "k")
    run = await cancel((await queued(store, "k")).id, store=store)
    clock.advance(seconds)
    await upkeep.tidy()
    assert [item.message.text for item in await store.input(run.id)] == ["hello"]

    clock.advance(61)
    await upkeep.tidy()

    assert await store.input(run.id) == ()
    assert deleted(registry, "input") == 1
    assert registry.get_sample_value("threadmesh_context_runs_ended_total", {"state": "cancelled"}) == 1


async def test_a_thread_that_outgrows_its_rule_is_pruned_within_a_minute(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(store, clock, registry, Retention(rules=parse_rules("* max_items=3")))
    await upkeep.tidy()
    clock.advance(30)
    thread_id = await turns(store, "k", 5)
    clock.advance(30)

    await upkeep.tidy()

    assert await kept(store, thread_id) == 3
    assert deleted(registry, "item") == 2


async def test_a_thread_that_nobody_uses_is_looked_at_when_it_may_be_too_old(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(store, clock, registry, Retention(rules=parse_rules("* max_age=1d")))
    thread_id = await turns(store, "k", 5)
    await upkeep.tidy()
    clock.advance(24 * 3600 + 1)

    await upkeep.tidy()

    assert await kept(store, thread_id) == 0
    assert deleted(registry, "item") == 5


async def test_threads_that_are_not_used_are_not_read_every_minute(
    store: MeasuredStore, clock: FakeClock, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(store, clock, registry, Retention(rules=parse_rules("* max_age=1d")))
    await turns(store, "k", 5)
    reads = []
    for _ in range(5):
        await upkeep.tidy()
        clock.advance(60)
        labels = {"store": "memory", "operation": "items"}
        reads.append(registry.get_sample_value("threadmesh_context_store_operation_duration_seconds_count", labels))

    assert reads[2:] == [reads[2]] * 3
