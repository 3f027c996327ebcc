"""What nobody asks for: ends lost runs, counts what is there, and keeps the store small."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry, Counter

from context_svc.domain.expire import expire
from context_svc.domain.ports import Census, Store
from context_svc.edge.upkeep import Upkeep
from threadmesh.errors import MeshError

log = structlog.get_logger()

_LOOK_SECONDS = 1.0


class Housekeeper:
    """Looks after a store once a second; `counted` is told what the store holds.

    Upkeep has a task of its own, so that a long one never lets a lost run wait.
    """

    def __init__(
        self, store: Store, registry: CollectorRegistry, upkeep: Upkeep, *, counted: Callable[[Census], None]
    ) -> None:
        self._store = store
        self._upkeep = upkeep
        self._counted = counted
        self._lost = Counter(
            "threadmesh_context_lease_expirations_total", "Runs ended because nobody finished them.", registry=registry
        )

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Look after the store until the block ends."""
        tasks = [
            asyncio.create_task(_keep(self.look), name="housekeeper"),
            asyncio.create_task(_keep(self._upkeep.tidy), name="upkeep"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Do everything that cannot wait."""
        for run in await expire(self._store):
            reason = run.finished.failure.reason if run.finished and run.finished.failure else ""
            log.warning("run.expired", run_id=run.id, thread_id=run.thread_id, reason=reason)
            self._lost.inc()
        self._counted(await self._store.census())


async def _keep(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except MeshError as error:
            log.warning("housekeeping.failed", reason=error.reason, error=str(error))
        except Exception as error:  # a defect here must not let lost runs block their threads
            log.error("housekeeping.defect", exc_info=error)
        await asyncio.sleep(_LOOK_SECONDS)
