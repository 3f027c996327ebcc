"""What nobody asks for: ends lost runs, forgets what has expired, counts what is there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from context_svc.domain.expire import expire
from context_svc.domain.ports import Census, Store
from context_svc.domain.prune import prune
from threadmesh.clock import Clock
from threadmesh.errors import MeshError

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_PRUNE_SECONDS = 60.0


class Housekeeper:
    """Looks after a store once a second; `counted` is told what the store holds."""

    def __init__(
        self, store: Store, clock: Clock, registry: CollectorRegistry, *, counted: Callable[[Census], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._counted = counted
        self._next_prune = clock.monotonic()
        self._lost = Counter(
            "threadmesh_context_lease_expirations_total", "Runs ended because nobody finished them.", registry=registry
        )
        self._deleted = Counter(
            "threadmesh_context_retention_deleted_total", "Things forgotten by age.", ["kind"], registry=registry
        )
        self._success = Gauge(
            "threadmesh_context_retention_last_success_timestamp_seconds",
            "When expired things were last looked for.",
            registry=registry,
        )

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Look after the store until the block ends."""
        task = asyncio.create_task(self._keep(), name="housekeeper")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """Do everything that is due now."""
        for run in await expire(self._store):
            reason = run.finished.failure.reason if run.finished and run.finished.failure else ""
            log.warning("run.expired", run_id=run.id, thread_id=run.thread_id, reason=reason)
            self._lost.inc()
        self._counted(await self._store.census())
        if self._clock.monotonic() >= self._next_prune:
            await self._prune()

    async def _keep(self) -> None:
        while True:
            try:
                await self.look()
            except MeshError as error:
                log.warning("housekeeping.failed", reason=error.reason, error=str(error))
            except Exception as error:  # a defect here must not let lost runs block their threads
                log.error("housekeeping.defect", exc_info=error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _prune(self) -> None:
        now = self._clock.now()
        pruned = await prune(now, store=self._store)
        self._deleted.labels("ephemeral_thread").inc(pruned.threads)
        self._deleted.labels("receipt").inc(pruned.receipts)
        self._success.set(now.timestamp())
        self._next_prune = self._clock.monotonic() + _PRUNE_SECONDS
