"""Begins a transaction of the PostgreSQL store: locks and reads what some changes are about, in one round trip."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from context_svc.adapters import counting, rows
from context_svc.adapters.postgres_connections import Connection
from context_svc.adapters.postgres_state import Seen
from context_svc.adapters.postgres_time import READ_TIME, Reading, Timekeeper, boot_seconds
from context_svc.domain.change import Moment, Scope
from context_svc.domain.run import Run

# Locks are taken in one order, so that changes wait for each other but never in a circle: names that may not exist yet,
# then threads, then runs, each sorted. At READ COMMITTED a statement sees what was committed when it began, so what a
# lock protects is read by a statement behind it.
_LOCK_NAMES = "SELECT pg_advisory_xact_lock(name) FROM unnest(%(names)s::bigint[]) AS name"
_WHOSE = """
    SELECT thread_id FROM threads WHERE thread_id = ANY(%(threads)s)
    UNION SELECT thread_id FROM threads WHERE tenant = ANY(%(tenants)s) AND key <> '' AND key = ANY(%(keys)s)
    UNION SELECT thread_id FROM runs WHERE run_id = ANY(%(whole_runs)s)
"""
_THREADS = f"SELECT * FROM threads WHERE thread_id IN ({_WHOSE}) ORDER BY thread_id FOR UPDATE"  # noqa: S608  # constants
# A request's parameters are large and never change: those that are known stay where they are.
_RUN = """
    run_id, tenant, thread_id, number, state, epoch, owner, lease_until, expires, create_time, deadline, next_event,
    first_event, input_count, first_item, cancel_requested, last_write, finished, finish_time,
    actions, wait_until, waits,
    CASE WHEN run_id = ANY(%(known)s) THEN NULL ELSE params END AS params
"""
_RUNS = f"SELECT {_RUN} FROM runs WHERE run_id = ANY(%(runs)s) ORDER BY run_id FOR UPDATE"  # noqa: S608  # constants
_RUNS_OF_THREADS = f"""
    SELECT {_RUN} FROM runs WHERE run_id IN (
        SELECT run_id FROM runs WHERE run_id = ANY(%(runs)s)
        UNION SELECT run_id FROM runs WHERE finish_time IS NULL AND thread_id IN ({_WHOSE})
    )
    ORDER BY run_id FOR UPDATE
"""  # noqa: S608  # constants
_RECEIPTS = "SELECT * FROM idem WHERE tenant = '' AND key = ANY(%(receipts)s)"
# A receipt's run may be another thread's, so it is not locked: whoever finds a receipt only tells of its run.
_RUNS_OF_RECEIPTS = (
    f"SELECT {_RUN} FROM runs WHERE run_id IN (SELECT run_id FROM idem WHERE tenant = '' AND key = ANY(%(receipts)s))"  # noqa: S608  # constants
)
STORED = counting.stored_by("tenant = ANY(%(measured)s)")
_MOST_KNOWN = 256


class Parameters:
    """Remembers the parameters of the runs that were read last; they never change."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of(self, names: Sequence[str]) -> dict[str, str]:
        """Give what is known of the named runs."""
        return {name: self._texts[name] for name in names if name in self._texts}

    def note(self, run: Run) -> None:
        """Remember those of a run."""
        if run.finished:
            self._texts.pop(run.id, None)
        else:
            self._texts[run.id] = run.parameters_json
        if len(self._texts) > _MOST_KNOWN:
            del self._texts[next(iter(self._texts))]


async def read_scopes(
    connection: Connection, scopes: Sequence[Scope], *, time: Timekeeper, parameters: Parameters
) -> Seen:
    """Begin a transaction; give what is within the scopes, which nobody else changes until it ends."""
    values = _values(scopes)
    known = parameters.of(values["runs"])
    values["known"] = list(known)
    cursors: dict[str, AsyncCursor[DictRow]] = {}
    asked = boot_seconds()
    async with connection.pipeline():
        await connection.execute("BEGIN")
        for name, statement in _statements(values).items():
            cursors[name] = await connection.execute(statement, values)
    answered = boot_seconds()
    found = {name: await cursor.fetchall() for name, cursor in cursors.items()}
    moment = time.moment(_reading(found["time"][0], connection, asked=asked, answered=answered))
    return _seen(found, known, moment)


async def read_time(connection: Connection, time: Timekeeper) -> Moment:
    """Give the store's time."""
    asked = boot_seconds()
    (row,) = await (await connection.execute(READ_TIME)).fetchall()
    return time.moment(_reading(row, connection, asked=asked, answered=boot_seconds()))


async def read_stored(tenant: str, connection: Connection) -> list[DictRow]:
    """Give what a tenant has stored, as a row with its `bytes`; none where that is nothing."""
    return await (await connection.execute(STORED, {"measured": [tenant]})).fetchall()


def _reading(row: DictRow, connection: Connection, *, asked: float, answered: float) -> Reading:
    return Reading(
        wall=row["wall"],
        correction=row["correction"],
        restarted=row["restarted"],
        asked=asked,
        answered=answered,
        away=connection.away,
    )


def _statements(values: Mapping[str, Any]) -> dict[str, str]:
    """Give what must be asked, in the order of the locks; the time last, for waiting takes some."""
    statements = {"names": _LOCK_NAMES} if values["names"] else {}
    if values["threads"] or values["keys"] or values["whole_runs"]:
        statements |= {"threads": _THREADS, "runs": _RUNS_OF_THREADS}
    elif values["runs"]:
        statements["runs"] = _RUNS
    if values["receipts"]:
        statements |= {"receipts": _RECEIPTS, "their_runs": _RUNS_OF_RECEIPTS}
    if values["measured"]:
        statements["stored"] = STORED
    return {**statements, "time": READ_TIME}


def _values(scopes: Sequence[Scope]) -> dict[str, Any]:
    keys = {scope.thread_key for scope in scopes if scope.thread_key}
    receipts = {scope.receipt_key for scope in scopes if scope.receipt_key}
    names = {_number("thread", key) for key in keys} | {_number("receipt", key) for key in receipts}
    return {
        "names": sorted(names),
        "keys": list(keys),
        "tenants": list({scope.tenant for scope in scopes}),
        "measured": list({scope.tenant for scope in scopes if scope.measured}),
        "receipts": list(receipts),
        "threads": list({scope.thread_id for scope in scopes if scope.thread_id}),
        "runs": list({scope.run_id for scope in scopes if scope.run_id}),
        "whole_runs": list({scope.run_id for scope in scopes if scope.run_id and not scope.only_run}),
    }


def _number(kind: str, name: str) -> int:
    """Give the advisory lock of a name. Two names may share one; then they wait for each other without need."""
    return int.from_bytes(blake2b(f"{kind}:{name}".encode(), digest_size=8).digest(), "big", signed=True)


def _seen(found: Mapping[str, list[DictRow]], known: Mapping[str, str], now: Moment) -> Seen:
    read = [*found.get("their_runs", ()), *found.get("runs", ())]
    runs = [rows.run_of(row if row["params"] is not None else {**row, "params": known[row["run_id"]]}) for row in read]
    return Seen(
        now=now,
        threads={row["thread_id"]: rows.thread_of(row) for row in found.get("threads", ())},
        runs={run.id: run for run in runs},
        stored={row["tenant"]: row["bytes"] for row in found.get("stored", ())},
        receipts={row["key"]: rows.receipt_of(row) for row in found.get("receipts", ())},
    )
