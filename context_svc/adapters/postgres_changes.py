"""Changes of the PostgreSQL store: each call is one transaction of two round trips, and its end is always known."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Generic
from uuid import UUID, uuid4

import psycopg

from context_svc.adapters import counting, rows, sizes, statements
from context_svc.adapters.counting import Write
from context_svc.adapters.event_rows import batch_row
from context_svc.adapters.postgres_connections import Connection, Connections, lost
from context_svc.adapters.postgres_reading import Parameters, read_scopes
from context_svc.adapters.postgres_state import Seen
from context_svc.adapters.postgres_time import Timekeeper
from context_svc.domain.change import NOTHING, Change, Scope
from context_svc.domain.ports import Decide, Outcome
from context_svc.domain.run import Run
from threadmesh.crash_points import crash_point
from threadmesh.errors import MeshError, StoreUnavailable

# The number of a transaction would not do: one that was not flushed before a crash is given out again after it.
_MARK = "INSERT INTO commits (mark, committed) VALUES (:mark, TRUE)"
_FENCE = "INSERT INTO commits (mark, committed) VALUES (%s, FALSE) ON CONFLICT DO NOTHING"
_SETTLING_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Made(Generic[Outcome]):
    """What was decided, in the order in which it was wanted; a refused change has changed nothing."""

    changes: list[Change]
    outcomes: list[Outcome | MeshError]


class Changer:
    """Makes changes. A connection that is lost while it commits leaves a question, which the server is asked."""

    def __init__(self, connections: Connections, time: Timekeeper) -> None:
        self._connections = connections
        self._time = time
        self._parameters = Parameters()

    async def make(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> Made[Outcome]:
        """Make the changes, all in one transaction. Raises `StoreUnavailable`, and whatever else `decide` raises."""
        committing: list[tuple[UUID, Made[Outcome]]] = []

        async def attempt(connection: Connection) -> Made[Outcome]:
            committing.clear()
            scopes = [scope for scope, _ in wanted]
            seen = await read_scopes(connection, scopes, time=self._time, parameters=self._parameters)
            made, writes = _decided(wanted, seen)
            if writes:
                mark = uuid4()
                committing.append((mark, made))
                await _commit(connection, [(_MARK, {"mark": mark}), *writes])
            return made

        try:
            made = await self._connections.use(attempt)
        except StoreUnavailable:
            if not committing or not await self._committed(committing[-1][0]):
                raise
            made = committing[-1][1]
        for change in made.changes:
            for run in change.runs:
                self._parameters.note(run)
        return made

    async def _committed(self, mark: UUID) -> bool:
        """Ask the server whether a transaction has committed, until it knows; if not, it never will.

        Raises `StoreUnavailable` when it cannot say in time: then the caller does not know either, and repeats itself
        with the same request id, digest or epoch, which does nothing a second time.
        """
        try:
            async with asyncio.timeout(_SETTLING_SECONDS):
                while True:
                    with suppress(StoreUnavailable):
                        return await self._connections.use(partial(_settled, mark))
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError as error:
            raise StoreUnavailable(cause="outcome unknown") from error


async def _commit(connection: Connection, writes: Iterable[Write]) -> None:
    try:
        async with connection.pipeline():
            for statement, values in writes:
                await connection.execute(_for_psycopg(statement), values)
            crash_point("ctx.before_commit")
            await connection.execute("COMMIT")
        crash_point("ctx.after_commit")
    except psycopg.Error as error:
        if lost(error):  # as an error of ours, so that nobody repeats what may have been done
            raise StoreUnavailable(cause="connection lost in commit") from error
        raise


async def _settled(mark: UUID, connection: Connection) -> bool:
    """Where the transaction is still at it, the first statement waits for its end."""
    async with connection.pipeline():
        await connection.execute(_FENCE, [mark])
        found = await connection.execute("SELECT committed FROM commits WHERE mark = %s", [mark])
    return bool((await found.fetchall())[0]["committed"])


def _decided(wanted: Sequence[tuple[Scope, Decide[Outcome]]], seen: Seen) -> tuple[Made[Outcome], list[Write]]:
    """Let each decide on what the ones before have left; give what to store."""
    made: Made[Outcome] = Made([], [])
    writes: list[Write] = []
    counts: list[tuple[tuple[str, int], list[Write]]] = []
    for scope, decide in wanted:
        change: Change = NOTHING
        outcome: Outcome | MeshError
        try:
            change, outcome = decide(seen.state(scope))
        except MeshError as error:
            outcome = error
        written = _written(change)
        writes += _writes(change, seen, written)
        added = sizes.body_bytes([*written.inputs, *written.items])
        before = seen.threads.get(change.thread.id) if change.thread else None
        counts.append((counting.place_of(change), list(counting.counted(change, before=before, added=added))))
        seen.apply(change)
        made.changes.append(change)
        made.outcomes.append(outcome)
    # Parts of totals are locked last and in one order, as all else is: so nobody waits for another in a circle.
    counts.sort(key=lambda each: each[0])
    return made, [*writes, *(write for _, some in counts for write in some)]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that a change adds, with texts of any size in them: made once, written and counted."""

    inputs: list[rows.Row]
    items: list[rows.Row]


def _written(change: Change) -> _Rows:
    return _Rows(list(map(rows.input_row, change.waiting)), list(map(rows.item_row, change.items)))


def _writes(change: Change, seen: Seen, written: _Rows) -> Iterator[Write]:
    """Give the statements that store a change; what belongs to a thread or a run comes behind it."""
    if change.deleted:
        yield counting.thread_forgotten(change.deleted)
        yield statements.DELETE_THREAD, {"thread_id": change.deleted}
    if change.thread:
        yield _put("threads", rows.thread_row(change.thread))
    yield from counting.erased(change)
    yield from (_run(run, change, known=run.id in seen.runs) for run in change.runs)
    if change.thread:
        yield from counting.removals(change.thread.id, change)
    yield from (_insert("inputs", row) for row in written.inputs)
    yield from _admission(change)
    yield from (_insert("items", row) for row in written.items)
    yield from counting.amendments(change)
    if change.events:
        yield _insert("events", batch_row(change.events))
    yield from (_put("calls", rows.call_row(call)) for call in change.calls)
    if change.receipt:
        yield _put("idem", rows.receipt_row(change.receipt))
    yield from _forgotten(change)


def _run(run: Run, change: Change, *, known: bool) -> Write:
    logged = sizes.logged_bytes(run, change)
    if known:
        return statements.UPDATE_RUN, {**rows.run_changes(run), "added": logged}
    return _insert("runs", {**rows.run_row(run), "bytes": sizes.begun_bytes(run) + logged})


def _admission(change: Change) -> Iterator[Write]:
    for run in change.runs:
        if run.id == change.admitted:
            yield statements.ADMIT, {"thread_id": run.thread_id, "first_item": run.first_item, "run_id": run.id}
            yield statements.DELETE_INPUTS, {"run_id": run.id}


def _forgotten(change: Change) -> Iterator[Write]:
    """Give what takes away that is no longer needed of runs: input that was not admitted, logs that are too old."""
    yield from counting.dropped(change)
    for run in change.runs:
        if run.first_sequence:
            yield statements.DELETE_EVENTS, {"run_id": run.id, "first_event": run.first_sequence}
            yield statements.DELETE_CALLS, {"run_id": run.id}


def _insert(table: str, row: rows.Row) -> Write:
    return statements.insert(table, tuple(row)), row


def _put(table: str, row: rows.Row) -> Write:
    return statements.put(table, tuple(row)), row


@cache
def _for_psycopg(statement: str) -> str:
    """Write the names of values as psycopg does."""
    return re.sub(r":(\w+)", r"%(\1)s", statement)
