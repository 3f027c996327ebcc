"""One change of the SQLite store, inside the writer's transaction: what is read, and what is written."""

import sqlite3
from collections.abc import Iterable

from context_svc.adapters import counting, rows, sizes, statements
from context_svc.adapters.event_rows import batch_row
from context_svc.domain.change import Change, Moment, Receipt, Scope, State
from context_svc.domain.lease import LEASE_SECONDS
from context_svc.domain.run import Run
from context_svc.domain.thread import Thread

_RESTART_LEASES = """
    UPDATE runs SET
        lease_until = coalesce(:steady + (wait_until - :time) / 1e6, :lease),
        expires = :steady + (deadline - :time) / 1e6
    WHERE finish_time IS NULL
"""
STORED = counting.stored_by("tenant = ?")
_MOST_KNOWN = 1_024


class KnownRuns:
    """Runs as the writing connection left them, so that a write need not read its run again.

    What other connections wrote is noticed by the file's version; whoever undoes a transaction says `forget`.
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._version = 0

    def forget(self) -> None:
        """Know nothing any more."""
        self._runs.clear()

    def find(self, connection: sqlite3.Connection, run_id: str) -> Run | None:
        """Give a run, read from the file unless it is known. Only within a transaction that writes."""
        # https://www.sqlite.org/pragma.html#pragma_data_version: it changes when another connection has committed.
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self.forget()
            self._version = version
        return self._runs.get(run_id) or _run(connection, run_id)

    def note(self, change: Change) -> None:
        """Remember the runs that a change has stored."""
        if change.deleted or len(self._runs) > _MOST_KNOWN:
            self.forget()
        for run in change.runs:
            if run.finished:
                self._runs.pop(run.id, None)
            else:
                self._runs[run.id] = run


def read_state(connection: sqlite3.Connection, scope: Scope, now: Moment, known: KnownRuns) -> State:
    """Read what is within the scope."""
    receipt = _receipt(connection, scope.receipt_key) if scope.receipt_key else None
    run = known.find(connection, scope.run_id or (receipt.run_id if receipt else ""))
    if scope.only_run:
        return State(now=now, run=run, receipt=receipt)
    stored = stored_by(connection, scope.tenant) if scope.measured else 0
    thread_id = run.thread_id if scope.run_id and run else scope.thread_id
    thread = _thread_of_key(connection, scope) if scope.thread_key else None
    thread = thread or (_thread(connection, thread_id) if thread_id else None)
    return State(
        now=now,
        thread=thread,
        open_runs=_open_runs(connection, thread.id) if thread else (),
        run=run,
        receipt=receipt,
        stored=stored,
    )


def stored_by(connection: sqlite3.Connection, tenant: str) -> int:
    """Give the bytes that a tenant has stored."""
    return sum(row["bytes"] for row in connection.execute(STORED, (tenant, tenant)))


def write_change(connection: sqlite3.Connection, change: Change, *, before: Thread | None = None) -> None:
    """Write everything in the change; the thread was stored as `before`, as far as that is known."""
    if change.deleted:
        _do(connection, counting.thread_forgotten(change.deleted))
        connection.execute(statements.DELETE_THREAD, {"thread_id": change.deleted})
    if change.thread:
        _put(connection, "threads", rows.thread_row(change.thread))
        _do(connection, *counting.removals(change.thread.id, change))
    _do(connection, *counting.erased(change))
    for run in change.runs:
        logged = sizes.logged_bytes(run, change)
        if not connection.execute(statements.UPDATE_RUN, {**rows.run_changes(run), "added": logged}).rowcount:
            _add(connection, "runs", [{**rows.run_row(run), "bytes": sizes.begun_bytes(run) + logged}])
    waiting, items = list(map(rows.input_row, change.waiting)), list(map(rows.item_row, change.items))
    _add(connection, "inputs", waiting)
    if change.admitted:
        _admit(connection, next(run for run in change.runs if run.id == change.admitted))
    _add(connection, "items", items)
    _do(connection, *counting.amendments(change))
    if change.events:
        _add(connection, "events", [batch_row(change.events)])
    for call in change.calls:
        _put(connection, "calls", rows.call_row(call))
    if change.receipt:
        _put(connection, "idem", rows.receipt_row(change.receipt))
    _do(connection, *counting.dropped(change))
    for run in change.runs:
        _forget_parts(connection, run)
    added = sizes.body_bytes([*waiting, *items])
    _do(connection, *counting.counted(change, before=before, added=added))


def restart_leases(connection: sqlite3.Connection, *, now: Moment) -> None:
    """Measure leases and deadlines of open runs from `now` on."""
    values = {"steady": now.steady, "time": rows.microseconds(now.time), "lease": now.steady + LEASE_SECONDS}
    connection.execute(_RESTART_LEASES, values)


def _receipt(connection: sqlite3.Connection, key: str) -> Receipt | None:
    row = connection.execute("SELECT * FROM idem WHERE tenant = '' AND key = ?", (key,)).fetchone()
    return rows.receipt_of(row) if row else None


def _run(connection: sqlite3.Connection, run_id: str) -> Run | None:
    row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone() if run_id else None
    return rows.run_of(row) if row else None


def _thread(connection: sqlite3.Connection, thread_id: str) -> Thread | None:
    row = connection.execute("SELECT * FROM threads WHERE thread_id = ?", (thread_id,)).fetchone()
    return rows.thread_of(row) if row else None


def _thread_of_key(connection: sqlite3.Connection, scope: Scope) -> Thread | None:
    where = "tenant = ? AND key = ? AND key <> ''"  # the index by key holds only keys that are not empty
    values = (scope.tenant, scope.thread_key)
    row = connection.execute(f"SELECT * FROM threads WHERE {where}", values).fetchone()  # noqa: S608  # own words
    return rows.thread_of(row) if row else None


def _open_runs(connection: sqlite3.Connection, thread_id: str) -> tuple[Run, ...]:
    found = connection.execute(
        "SELECT * FROM runs WHERE thread_id = ? AND finish_time IS NULL ORDER BY number", (thread_id,)
    )
    return tuple(map(rows.run_of, found))


def _admit(connection: sqlite3.Connection, run: Run) -> None:
    connection.execute(statements.ADMIT, {"thread_id": run.thread_id, "first_item": run.first_item, "run_id": run.id})
    connection.execute(statements.DELETE_INPUTS, {"run_id": run.id})


def _forget_parts(connection: sqlite3.Connection, run: Run) -> None:
    if run.first_sequence:
        connection.execute(statements.DELETE_EVENTS, {"run_id": run.id, "first_event": run.first_sequence})
        connection.execute(statements.DELETE_CALLS, {"run_id": run.id})


def _add(connection: sqlite3.Connection, table: str, added: Iterable[rows.Row]) -> None:
    for row in added:
        connection.execute(statements.insert(table, tuple(row)), row)


def _do(connection: sqlite3.Connection, *writes: counting.Write) -> None:
    for statement, values in writes:
        connection.execute(statement, values)


def _put(connection: sqlite3.Connection, table: str, row: rows.Row) -> None:
    connection.execute(statements.put(table, tuple(row)), row)
