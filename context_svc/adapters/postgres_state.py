"""What there is within the scopes of some changes, and how it goes on from change to change."""

from dataclasses import dataclass, field

from context_svc.domain.change import Change, Moment, Receipt, Scope, State
from context_svc.domain.run import Run
from context_svc.domain.thread import Thread


@dataclass(kw_only=True)
class Seen:
    """What a transaction has read at `now`, and what the changes that it is going to store have made of it."""

    now: Moment
    threads: dict[str, Thread] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)

    def state(self, scope: Scope) -> State:
        """Give what is within one of the scopes."""
        receipt = self._receipt(scope)
        run = self.runs.get(scope.run_id or (receipt.run_id if receipt else ""))
        if scope.only_run:
            return State(now=self.now, run=run, receipt=receipt)
        thread = self._thread(scope, run)
        open_runs = [
            each for each in self.runs.values() if thread and each.thread_id == thread.id and not each.finished
        ]
        return State(
            now=self.now,
            thread=thread,
            open_runs=tuple(sorted(open_runs, key=lambda each: each.number)),
            run=run,
            receipt=receipt,
            stored=self.stored.get(scope.tenant, 0),
        )

    def apply(self, change: Change) -> None:
        """Go on as if the change were stored."""
        if change.deleted:
            self._forget(change.deleted)
        if change.thread:
            self.threads[change.thread.id] = change.thread
        self.runs |= {run.id: run for run in change.runs}
        if change.receipt:
            self.receipts[change.receipt.key] = change.receipt

    def _receipt(self, scope: Scope) -> Receipt | None:
        """Of a receipt whose thread was deleted while it was read nothing is left."""
        receipt = self.receipts.get(scope.receipt_key) if scope.receipt_key else None
        return None if receipt and receipt.run_id and receipt.run_id not in self.runs else receipt

    def _thread(self, scope: Scope, run: Run | None) -> Thread | None:
        if scope.thread_key:
            whose = (scope.tenant, scope.thread_key)
            named = next((each for each in self.threads.values() if (each.tenant, each.key) == whose), None)
            if named:
                return named
        return self.threads.get(run.thread_id if scope.run_id and run else scope.thread_id)

    def _forget(self, thread_id: str) -> None:
        self.threads.pop(thread_id, None)
        self.runs = {name: run for name, run in self.runs.items() if run.thread_id != thread_id}
        self.receipts = {key: each for key, each in self.receipts.items() if each.thread_id != thread_id}
