"""Keeps a store small: applies retention, forgets what has expired, compacts the logs of ended runs."""

from datetime import datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from context_svc.domain.forget_inputs import forget_ended_inputs
from context_svc.domain.forget_logs import forget_ended_logs
from context_svc.domain.ports import Cursor, Store
from context_svc.domain.prune import prune
from context_svc.domain.retain import Removal, sweep
from context_svc.domain.retention import Retention, shortest
from threadmesh.clock import Clock

log = structlog.get_logger()

_RUNS_AT_ONCE = 16
_MOST_STEPS = 256
_PRUNE_SECONDS = 60.0
_FULL_SECONDS = 3600.0
_OVERLAP = timedelta(minutes=1)
"""Clocks of several processes differ a little."""


class Upkeep:
    """Does what is due whenever it is asked to, in steps that hold up no writer.

    Threads that were used are looked at every minute, since they may have outgrown their rule. All threads are looked
    at every hour, or more often where a rule's time is short, since they may have become too old.
    """

    def __init__(self, store: Store, clock: Clock, registry: CollectorRegistry, retention: Retention) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention
        self._next_prune = clock.monotonic()
        self._next_full = clock.monotonic()
        self._swept: datetime | None = None
        self._deleted = Counter(
            "threadmesh_context_retention_deleted_total", "Things forgotten by age or size.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self._compacted = Counter(
            "threadmesh_context_logs_compacted_total", "Logs of ended runs kept in fewer rows.", registry=registry
        )
        self._success = Gauge(
            "threadmesh_context_retention_last_success_timestamp_seconds",
            "When expired things were last looked for.",
            registry=registry,
        )

    async def tidy(self) -> None:
        """Do everything that is due now."""
        for _ in range(_MOST_STEPS):
            compacted = await self._store.compact(limit=_RUNS_AT_ONCE)
            self._compacted.inc(compacted)
            if not compacted:
                break
        if self._clock.monotonic() >= self._next_prune:
            await self._prune()

    async def _prune(self) -> None:
        """Forget receipts last: with them the traces go of what was forgotten before."""
        now = self._clock.now()
        logs = await forget_ended_logs(before=now - self._retention.event_lifetime, store=self._store)
        self._deleted.labels("event_log").inc(logs)
        longest = min(self._retention.event_lifetime, shortest(self._retention.rules))
        inputs = await forget_ended_inputs(before=now - longest, store=self._store)
        self._deleted.labels("input").inc(inputs)
        if self._retention.rules:
            await self._sweep(now)
        pruned = await prune(now, store=self._store)
        self._deleted.labels("ephemeral_thread").inc(pruned.threads)
        self._deleted.labels("receipt").inc(pruned.receipts)
        self._success.set(now.timestamp())
        self._next_prune = self._clock.monotonic() + _PRUNE_SECONDS

    async def _sweep(self, now: datetime) -> None:
        full = self._swept is None or self._clock.monotonic() >= self._next_full
        since = None if full or self._swept is None else self._swept - _OVERLAP
        after: Cursor | None = None
        while True:
            page = await sweep(self._retention.rules, now=now, after=after, since=since, store=self._store)
            for removal in page.removals:
                self._tell(removal)
            if page.next is None:
                break
            after = page.next
        self._swept = now
        if full:
            often = shortest(self._retention.rules).total_seconds() / 10
            self._next_full = self._clock.monotonic() + min(_FULL_SECONDS, often)

    def _tell(self, removal: Removal) -> None:
        self._deleted.labels("item").inc(removal.items)
        self._deleted.labels("thread").inc(removal.whole)
        log.info(
            "retention.removed",
            thread_id=removal.thread.id,
            rule=removal.rule.pattern,
            items=removal.items,
            whole=removal.whole,
        )
