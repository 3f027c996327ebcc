"""Pages of threads that are wanted for what their metadata say."""

import pytest

from context_svc.adapters.memory_store import MemoryStore
from context_svc.domain.list_threads import Wanted, list_threads, place_of
from context_svc.domain.resolve import resolve
from threadmesh.errors import ThreadNotFound
from threadmesh.testing.clock import FakeClock


async def test_a_page_passes_over_only_so_many_and_the_next_goes_on(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    for number in range(2_500):
        await resolve(f"k{number}", metadata={"wanted": str(number in (0, 1, 2_450))}, store=store)
        clock.advance(1)
    wanted = Wanted(metadata={"wanted": "True"})

    first = await list_threads(wanted, after=None, limit=2, store=store)
    second = await list_threads(wanted, after=first.next, limit=2, store=store)
    earliest = await list_threads(Wanted(metadata=wanted.metadata, ascending=True), after=None, limit=2, store=store)

    assert [thread.key for thread in first.threads] == ["k2450"]
    assert [thread.key for thread in second.threads] == ["k1", "k0"]
    assert (first.next is None, second.next) == (False, None)
    assert [thread.key for thread in earliest.threads] == ["k0", "k1"]
    assert earliest.next is not None


async def test_the_place_of_anothers_thread_is_not_told(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    thread = (await resolve("k", metadata={}, store=store, tenant="a")).thread

    assert (await place_of(thread.id, tenant="a", store=store)).id == thread.id
    with pytest.raises(ThreadNotFound):
        await place_of(thread.id, tenant="b", store=store)
