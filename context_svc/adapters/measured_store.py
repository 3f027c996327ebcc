"""A store that is measured: durations, errors, and what was written."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Generic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from context_svc.domain.call import Call
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.item import Item
from context_svc.domain.ports import Census, Changes, Cursor, Decide, Outcome, Store
from context_svc.domain.run import Log, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import Internal, MeshError, StaleEpoch, StoreFull, StoreUnavailable, ThreadDamaged

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_EVENTS = (1, 2, 5, 10, 20, 50, 100)
_NAME = "threadmesh_context_"


class StoreMetrics:
    """Metrics of a store; `kind` names its technology."""

    def __init__(self, registry: CollectorRegistry, *, kind: str) -> None:
        labels = ["store", "operation"]
        self._kind = kind
        self._seconds = Histogram(
            f"{_NAME}store_operation_duration_seconds", "Time of a store's operation.", labels,
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._errors = Counter(
            f"{_NAME}store_errors_total", "Operations the store failed to do.", [*labels, "reason"], registry=registry
        )
        self._events = Counter(f"{_NAME}events_appended_total", "Events written to logs.", registry=registry)
        self._batch = Histogram(f"{_NAME}commit_batch_events", "Events in a write.", buckets=_EVENTS, registry=registry)
        self._fenced = Counter(
            f"{_NAME}fenced_writes_total", "Writes refused because their sender was no longer the writer.",
            registry=registry,
        )  # fmt: skip
        self._ended = Counter(f"{_NAME}runs_ended_total", "Runs that ended.", ["state"], registry=registry)
        self._runs = Gauge(f"{_NAME}runs", "Runs that have not ended.", ["state"], registry=registry)
        self._threads = Gauge(f"{_NAME}threads", "Threads kept.", registry=registry)
        self._oldest = Gauge(
            f"{_NAME}run_oldest_unclaimed_seconds", "Age of the oldest run that waits for a writer.", registry=registry
        )

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Measure one operation."""
        try:
            with self._seconds.labels(self._kind, name).time():
                yield
        except MeshError as error:
            self.failed(name, error)
            raise

    def failed(self, name: str, error: MeshError) -> None:
        """Count an operation that failed, if that says something about the store or about fencing."""
        if isinstance(error, StaleEpoch):
            self._fenced.inc()
        elif isinstance(error, StoreUnavailable | StoreFull | ThreadDamaged | Internal):
            self._errors.labels(self._kind, name, error.reason.lower()).inc()

    def written(self, change: Change) -> None:
        """Count what a change stored."""
        if change.events:
            self._events.inc(len(change.events.bodies))
            self._batch.observe(len(change.events.bodies))
        for run in change.runs:
            if run.finished and not run.first_sequence:  # a run whose log is forgotten ended long ago
                self._ended.labels(run.state.value).inc()

    def counted(self, census: Census) -> None:
        """Show what the store holds."""
        self._threads.set(census.threads)
        self._oldest.set(census.oldest_queued_seconds)
        for state in (RunState.QUEUED, RunState.RUNNING, RunState.REQUIRES_ACTION):
            self._runs.labels(state.value).set(census.open_runs.get(state, 0))


class _Noted(Generic[Outcome]):
    """A decision that remembers the change that it made last."""

    def __init__(self, decide: Decide[Outcome]) -> None:
        self._decide = decide
        self.change: Change | None = None

    def __call__(self, state: State) -> tuple[Change, Outcome]:
        self.change, outcome = self._decide(state)
        return self.change, outcome


class MeasuredStore:
    """Passes everything on to another store and measures it."""

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store = store
        self.metrics = metrics

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """See `Writer.change`."""
        noted = _Noted(decide)
        with self.metrics.operation("change"):
            outcome = await self._store.change(scope, noted)
        if noted.change is not None:
            self.metrics.written(noted.change)
        return outcome

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """See `Writer.change_each`."""
        noted = [(scope, _Noted(decide)) for scope, decide in wanted]
        with self.metrics.operation("change_each"):
            outcomes = await self._store.change_each(noted)
        for (_, each), outcome in zip(noted, outcomes, strict=True):
            if isinstance(outcome, MeshError):
                self.metrics.failed("change_each", outcome)
            elif each.change is not None:
                self.metrics.written(each.change)
        return outcomes

    async def thread(self, thread_id: str) -> Thread:
        """See `ThreadStore.thread`."""
        with self.metrics.operation("thread"):
            return await self._store.thread(thread_id)

    async def threads(
        self,
        *,
        key_prefix: str,
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
        ascending: bool = False,
    ) -> tuple[Thread, ...]:
        """See `ThreadStore.threads`."""
        with self.metrics.operation("threads"):
            return await self._store.threads(
                key_prefix=key_prefix, after=after, limit=limit, tenant=tenant, ascending=ascending
            )

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """See `ThreadStore.items`."""
        with self.metrics.operation("items"):
            return await self._store.items(thread_id, after=after, limit=limit, descending=descending)

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """See `ThreadStore.instructions`."""
        with self.metrics.operation("instructions"):
            return await self._store.instructions(thread_id)

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `ThreadStore.idle_threads`."""
        with self.metrics.operation("idle_threads"):
            return await self._store.idle_threads(before=before, limit=limit)

    async def forget_receipts(self, *, before: datetime) -> int:
        """See `ThreadStore.forget_receipts`."""
        with self.metrics.operation("forget_receipts"):
            return await self._store.forget_receipts(before=before)

    async def run(self, run_id: str) -> Run:
        """See `RunStore.run`."""
        with self.metrics.operation("run"):
            return await self._store.run(run_id)

    async def runs(
        self,
        *,
        thread_id: str,
        states: tuple[RunState, ...],
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
    ) -> tuple[Run, ...]:
        """See `RunStore.runs`."""
        with self.metrics.operation("runs"):
            return await self._store.runs(thread_id=thread_id, states=states, after=after, limit=limit, tenant=tenant)

    async def log(self, run_id: str, *, after: int) -> Log:
        """See `RunStore.log`."""
        with self.metrics.operation("log"):
            return await self._store.log(run_id, after=after)

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """See `RunStore.input`."""
        with self.metrics.operation("input"):
            return await self._store.input(run_id)

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """See `RunStore.calls`."""
        with self.metrics.operation("calls"):
            return await self._store.calls(run_id)

    def changes(self, topic: str) -> AbstractContextManager[Changes]:
        """See `RunStore.changes`."""
        return self._store.changes(topic)

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """See `RunStore.overdue`."""
        with self.metrics.operation("overdue"):
            return await self._store.overdue(abandoned_after=abandoned_after, limit=limit)

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_logs`."""
        with self.metrics.operation("ended_logs"):
            return await self._store.ended_logs(before=before, limit=limit)

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_inputs`."""
        with self.metrics.operation("ended_inputs"):
            return await self._store.ended_inputs(before=before, limit=limit)

    async def compact(self, *, limit: int) -> int:
        """See `RunStore.compact`."""
        with self.metrics.operation("compact"):
            return await self._store.compact(limit=limit)

    async def stored(self, tenant: str) -> int:
        """See `Store.stored`."""
        with self.metrics.operation("stored"):
            return await self._store.stored(tenant)

    async def census(self) -> Census:
        """See `Store.census`."""
        with self.metrics.operation("census"):
            return await self._store.census()

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self.metrics.operation("ping"):
            await self._store.ping()
