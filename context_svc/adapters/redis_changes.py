"""Changes of the Redis store: what was read for them, and what becomes of it while they are decided.

Every thread has a version, which each change that belongs to it raises. A change is made only if the versions, the
thread of its key and its receipt are still what was read: then nothing within its scope has changed meanwhile.
"""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from context_svc.adapters import redis_records as records
from context_svc.adapters.redis_commands import Command, Keys, commands, first_item
from context_svc.domain.change import Change, Moment, Receipt, Scope, State
from context_svc.domain.run import Run
from context_svc.domain.thread import Thread

Conditions = dict[tuple[str, str], bytes]
"""What must still be so: of each kind and name, the value."""


class Snapshot:
    """What was read within several scopes at one moment, and what the changes decided since have made of it."""

    def __init__(self, now: Moment) -> None:
        self._now = now
        self._threads: dict[str, Thread] = {}
        self._by_key: dict[str, str] = {}
        self._runs: dict[str, Run] = {}
        self._receipts: dict[str, Receipt] = {}
        self._stored: dict[str, int] = {}

    def add(self, scope: Scope, answer: Any) -> Conditions:
        """Add what was read within a scope; gives what must still be so when a change of it is stored."""
        receipt, run, thread, of_key, version, open_runs, stored = answer
        if scope.measured:
            self._stored[scope.tenant] = int(stored)
        conditions: Conditions = {}
        if scope.receipt_key:
            conditions["receipt", scope.receipt_key] = receipt or b""
        if receipt:
            self._receipts[scope.receipt_key] = records.load_receipt(receipt)
        if run:
            conditions["version", run[3].decode()] = run[4]
        for fixed, changing, lease, *_ in filter(None, (run, *open_runs)):
            self._note_run(records.load_run(fixed, changing, lease))
        if scope.thread_key:
            conditions["key", records.qualified(scope.tenant, scope.thread_key)] = of_key
        if thread:
            found = records.load_thread(thread)
            self._note_thread(found)
            conditions["version", found.id] = version
        return conditions

    def state(self, scope: Scope) -> State:
        """Give what there is within a scope, with the changes so far."""
        receipt = self._receipts.get(scope.receipt_key) if scope.receipt_key else None
        run = self._runs.get(scope.run_id or (receipt.run_id if receipt else ""))
        if scope.only_run:
            return State(now=self._now, run=run, receipt=receipt)
        thread_id = run.thread_id if scope.run_id and run else scope.thread_id
        name = records.qualified(scope.tenant, scope.thread_key) if scope.thread_key else ""
        thread = self._threads.get(self._by_key.get(name, thread_id))
        open_runs = self._open_runs(thread.id) if thread else ()
        stored = self._stored.get(scope.tenant, 0)
        return State(now=self._now, thread=thread, open_runs=tuple(open_runs), run=run, receipt=receipt, stored=stored)

    def store(self, change: Change, state: State, keys: Keys) -> tuple[Conditions, list[Command]]:
        """Note a change that was decided on a state; gives what else must be so, and the commands that store it."""
        thread_id = _thread_of(change, state)
        conditions: Conditions = {}
        if (first := first_item(change)) is not None:
            conditions["room", thread_id] = b"%d" % first
        found = list(
            commands(
                change,
                thread_id=thread_id,
                new_thread=thread_id not in self._threads,
                known=self._runs.keys() & {run.id for run in change.runs},
                keys=keys,
            )
        )
        self._note(change)
        return conditions, found

    def _open_runs(self, thread_id: str) -> Iterator[Run]:
        runs = (run for run in self._runs.values() if run.thread_id == thread_id and not run.finished)
        return iter(sorted(runs, key=attrgetter("number")))

    def _note(self, change: Change) -> None:
        if change.deleted:
            self._forget(change.deleted)
        if change.thread:
            self._note_thread(change.thread)
        for run in change.runs:
            self._note_run(run)
        if change.receipt:
            self._receipts[change.receipt.key] = change.receipt

    def _note_thread(self, thread: Thread) -> None:
        self._threads[thread.id] = thread
        if thread.key:
            self._by_key[records.qualified(thread.tenant, thread.key)] = thread.id

    def _note_run(self, run: Run) -> None:
        self._runs[run.id] = run

    def _forget(self, thread_id: str) -> None:
        thread = self._threads.pop(thread_id)
        self._by_key.pop(records.qualified(thread.tenant, thread.key), None)
        for run_id in [run.id for run in self._runs.values() if run.thread_id == thread_id]:
            del self._runs[run_id]
        for key in [key for key, receipt in self._receipts.items() if receipt.thread_id == thread_id]:
            del self._receipts[key]


def _thread_of(change: Change, state: State) -> str:
    """Name the thread to which everything in a change belongs."""
    if change.deleted or change.thread:
        return change.deleted or (change.thread.id if change.thread else "")
    if change.runs:
        return change.runs[0].thread_id
    if state.thread:
        return state.thread.id
    return state.existing_run().thread_id
