"""Ending lost runs, when the search and the decision are not of the same moment."""

from context_svc.adapters.memory_store import MemoryStore
from context_svc.domain.expire import expire
from tests.context_svc.given import finished, queued, running
from threadmesh.testing.clock import FakeClock


class HastyStore(MemoryStore):
    """Finds every run overdue, and one that somebody deleted since."""

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        return (*self._runs, "run_gone")


async def test_a_run_that_was_renewed_or_finished_since_the_search_is_left_alone(clock: FakeClock) -> None:
    store = HastyStore(clock)
    runs = [await running(store, clock), await queued(store), await finished(store, await running(store, clock))]

    assert await expire(store) == ()
    assert [await store.run(run.id) for run in runs] == runs
