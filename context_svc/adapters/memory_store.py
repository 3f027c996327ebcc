"""A store that forgets everything with its process: for tests and trials."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter, gt, lt

from context_svc.adapters import sizes
from context_svc.adapters.hints import Hint, Hints
from context_svc.adapters.log_page import page_of
from context_svc.domain.call import Call, CallState
from context_svc.domain.change import Change, Moment, Receipt, Scope, State
from context_svc.domain.item import Item
from context_svc.domain.ports import DIFFERENT_INSTRUCTIONS, Census, Cursor, Decide, Outcome
from context_svc.domain.retention import stays
from context_svc.domain.run import Batch, Log, Run, RunState
from context_svc.domain.thread import Thread
from context_svc.domain.told import INSTRUCTIONS
from threadmesh.clock import Clock
from threadmesh.conversation import Message
from threadmesh.errors import MeshError, RunNotFound, ThreadNotFound


class MemoryStore:
    """Keeps threads and runs in dictionaries. A change never waits, so the event loop itself keeps changes apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hints = Hints()
        self._threads: dict[str, Thread] = {}
        self._items: dict[str, list[Item]] = {}
        self._runs: dict[str, Run] = {}
        self._waiting: dict[str, tuple[Item, ...]] = {}
        self._batches: dict[str, list[Batch]] = {}
        self._calls: dict[str, dict[str, Call]] = {}
        self._receipts: dict[str, Receipt] = {}
        self._sizes: dict[str, int] = {}
        """Of threads that have not changed since they were measured."""

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """See `Writer.change`."""
        change, outcome = decide(self._state(scope))
        self._store(change)
        self._hints.tell(change)
        return outcome

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """See `Writer.change_each`."""
        outcomes: list[Outcome | MeshError] = []
        for scope, decide in wanted:
            try:
                outcomes.append(await self.change(scope, decide))
            except MeshError as error:
                outcomes.append(error)
        return outcomes

    async def thread(self, thread_id: str) -> Thread:
        """See `ThreadStore.thread`."""
        if thread_id not in self._threads:
            raise ThreadNotFound
        return self._threads[thread_id]

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
        listed = (
            thread
            for thread in self._threads.values()
            if not thread.ephemeral and thread.key.startswith(key_prefix) and tenant in {None, thread.tenant}
        )
        ordered = sorted(listed, key=attrgetter("update_time", "id"), reverse=not ascending)
        compare = gt if ascending else lt
        beyond = (each for each in ordered if not after or compare((each.update_time, each.id), (after.time, after.id)))
        return tuple(islice(beyond, limit))

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """See `ThreadStore.items`."""
        items = self._items.get(thread_id, [])
        if descending:
            end = len(items) if after is None else bisect_left(items, after, key=attrgetter("sequence"))
            return tuple(islice(reversed(items[:end]), limit))
        first = 0 if after is None else bisect_right(items, after, key=attrgetter("sequence"))
        return tuple(items[first : first + limit])

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """See `ThreadStore.instructions`."""
        first: dict[Message, Item] = {}
        for item in self._items.get(thread_id, ()):
            if item.message.role in INSTRUCTIONS:
                first.setdefault(item.message, item)
        found = tuple(first.values())
        return found if len(found) <= DIFFERENT_INSTRUCTIONS else found[:1]

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `ThreadStore.idle_threads`."""
        busy = {run.thread_id for run in self._open_runs()}
        idle = (
            thread.id
            for thread in self._threads.values()
            if thread.ephemeral and thread.update_time < before and thread.id not in busy
        )
        return tuple(islice(idle, limit))

    async def forget_receipts(self, *, before: datetime) -> int:
        """See `ThreadStore.forget_receipts`."""
        expired = [key for key, receipt in self._receipts.items() if receipt.expire_time < before]
        for key in expired:
            del self._receipts[key]
        return len(expired)

    async def run(self, run_id: str) -> Run:
        """See `RunStore.run`."""
        if run_id not in self._runs:
            raise RunNotFound
        return self._runs[run_id]

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
        listed = (
            run
            for run in self._runs.values()
            if thread_id in {"", run.thread_id} and (not states or run.state in states) and tenant in {None, run.tenant}
        )
        latest = sorted(listed, key=attrgetter("create_time", "id"), reverse=True)
        beyond = (each for each in latest if not after or (each.create_time, each.id) < (after.time, after.id))
        return tuple(islice(beyond, limit))

    async def log(self, run_id: str, *, after: int) -> Log:
        """See `RunStore.log`."""
        return Log(run=await self.run(run_id), events=page_of(self._batches.get(run_id, ()), after=after))

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """See `RunStore.input`."""
        return self._waiting.get(run_id, ())

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """See `RunStore.calls`."""
        return tuple(sorted(self._calls.get(run_id, {}).values(), key=attrgetter("ordinal", "id")))

    def changes(self, topic: str) -> AbstractContextManager[Hint]:
        """See `RunStore.changes`."""
        return self._hints.follow(topic)

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """See `RunStore.overdue`."""
        now = self._clock.monotonic()
        late = (run.id for run in self._open_runs() if min(run.expires, run.lease_until + abandoned_after) <= now)
        return tuple(islice(late, limit))

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_logs`."""
        ended = ((run.finish_time, run.id) for run in self._runs.values() if run.first_sequence < run.next_sequence - 1)
        early = sorted((time, run_id) for time, run_id in ended if time and time < before)
        return tuple(run_id for _, run_id in early[:limit])

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_inputs`."""
        ended = ((self._runs[run_id].finish_time, run_id) for run_id in self._waiting)
        early = sorted((time, run_id) for time, run_id in ended if time and time < before)
        return tuple(run_id for _, run_id in early[:limit])

    async def compact(self, *, limit: int) -> int:  # noqa: ARG002  # there is nothing to gain
        """See `RunStore.compact`."""
        return 0

    async def stored(self, tenant: str) -> int:
        """See `Store.stored`."""
        return self._stored(tenant)

    async def census(self) -> Census:
        """See `Store.census`."""
        states = [run.state for run in self._open_runs()]
        queued = [run.create_time for run in self._open_runs() if run.state is RunState.QUEUED]
        oldest = (self._clock.now() - min(queued)).total_seconds() if queued else 0.0
        return Census(
            threads=len(self._threads),
            open_runs={state: states.count(state) for state in set(states)},
            oldest_queued_seconds=oldest,
        )

    async def ping(self) -> None:
        """See `Store.ping`."""

    def _open_runs(self) -> Iterable[Run]:
        return (run for run in self._runs.values() if not run.finished)

    def _state(self, scope: Scope) -> State:
        receipt = self._receipts.get(scope.receipt_key) if scope.receipt_key else None
        run = self._runs.get(scope.run_id or (receipt.run_id if receipt else ""))
        now = Moment(time=self._clock.now(), steady=self._clock.monotonic())
        if scope.only_run:
            return State(now=now, run=run, receipt=receipt)
        stored = self._stored(scope.tenant) if scope.measured else 0
        thread = self._threads.get(run.thread_id if scope.run_id and run else scope.thread_id)
        if scope.thread_key:
            whose = (scope.tenant, scope.thread_key)
            thread = next((each for each in self._threads.values() if (each.tenant, each.key) == whose), None)
        runs = [each for each in self._open_runs() if thread and each.thread_id == thread.id]
        return State(
            now=now,
            thread=thread,
            open_runs=tuple(sorted(runs, key=attrgetter("number"))),
            run=run,
            receipt=receipt,
            stored=stored,
        )

    def _stored(self, tenant: str) -> int:
        for thread in self._threads.values():
            if thread.tenant == tenant and thread.id not in self._sizes:
                self._sizes[thread.id] = self._measured(thread)
        return sum(size for name, size in self._sizes.items() if self._threads[name].tenant == tenant)

    def _measured(self, thread: Thread) -> int:
        runs = [run for run in self._runs.values() if run.thread_id == thread.id]
        items = chain(self._items.get(thread.id, ()), *(self._waiting.get(run.id, ()) for run in runs))
        batches = chain.from_iterable(self._batches.get(run.id, ()) for run in runs)
        calls = chain.from_iterable(self._calls.get(run.id, {}).values() for run in runs)
        within = chain(
            map(sizes.run_bytes, runs),
            map(sizes.item_bytes, items),
            map(sizes.batch_bytes, batches),
            map(sizes.call_bytes, calls),
        )
        return sizes.thread_bytes(thread) + sum(within)

    def _store(self, change: Change) -> None:
        self._measure_again(change)
        if change.deleted:
            self._forget(change.deleted)
        if change.thread:
            self._threads[change.thread.id] = change.thread
        for run in change.runs:
            self._runs[run.id] = run
        if change.waiting:
            self._waiting[change.waiting[0].run_id] = change.waiting
        if change.admitted:
            self._admit(self._runs[change.admitted])
        if change.thread:
            self._prune(change.thread.id, change)
        for item in change.items:
            self._items.setdefault(item.thread_id, []).append(item)
        for amended in change.amended:
            items = self._items.get(amended.thread_id, ())
            self._items[amended.thread_id] = [amended if item.sequence == amended.sequence else item for item in items]
        if change.events:
            self._batches.setdefault(change.events.run_id, []).append(change.events)
        if change.receipt:
            self._receipts[change.receipt.key] = change.receipt
        self._store_calls(change)
        self._waiting.pop(change.dropped, None)
        for run in change.runs:
            self._forget_parts(run)

    def _measure_again(self, change: Change) -> None:
        names = {change.deleted, *(run.thread_id for run in change.runs)}
        for name in names | ({change.thread.id} if change.thread else set()):
            self._sizes.pop(name, None)

    def _store_calls(self, change: Change) -> None:
        for call in change.calls:
            calls = self._calls.setdefault(call.run_id, {})
            if call.id not in calls or calls[call.id].state is not CallState.FINISHED:
                calls[call.id] = call

    def _admit(self, run: Run) -> None:
        waiting = self._waiting.pop(run.id, ())
        admitted = (replace(item, sequence=run.first_item + item.sequence) for item in waiting)
        self._items.setdefault(run.thread_id, []).extend(admitted)

    def _forget_parts(self, run: Run) -> None:
        if run.first_sequence:
            self._batches.pop(run.id, None)
            self._calls.pop(run.id, None)

    def _prune(self, thread_id: str, change: Change) -> None:
        for pruned in change.pruned:
            items = self._items.get(thread_id, ())
            self._items[thread_id] = [item for item in items if item.sequence not in pruned or stays(item)]
        if change.removed:
            items = self._items.get(thread_id, ())
            self._items[thread_id] = [item for item in items if item.sequence not in change.removed]

    def _forget(self, thread_id: str) -> None:
        del self._threads[thread_id]
        self._items.pop(thread_id, None)
        for run_id in [run.id for run in self._runs.values() if run.thread_id == thread_id]:
            for kept in (self._runs, self._waiting, self._batches, self._calls):
                kept.pop(run_id, None)
        for key in [key for key, receipt in self._receipts.items() if receipt.thread_id == thread_id]:
            del self._receipts[key]
