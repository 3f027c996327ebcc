"""The logs of runs in SQLite: read, found when they are old, and kept in fewer rows once their run has ended."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from context_svc.adapters import rows
from context_svc.adapters.event_rows import BATCH, batches_of, snapshot_row
from context_svc.adapters.log_page import page_of
from context_svc.domain.run import Batch, Log
from threadmesh.crash_points import crash_point
from threadmesh.errors import RunNotFound

_SNAPSHOT_BYTES = 256 * 1024
"""Reading any event of a snapshot means reading all of it."""
_STEP_BYTES = 1024 * 1024
_STEP_ROWS = 256
"""What is replaced in one step: more than either is left for the next one, so that writers wait for milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """A snapshot and how many rows of an ended run's log it replaces; `last` says that this leaves none to replace."""

    run_id: str
    replaced: int = 0
    snapshot: rows.Row | None = None
    last: bool = False


def read_log(connection: sqlite3.Connection, run_id: str, *, after: int) -> Log:
    """Give a piece of a log; raises `RunNotFound`."""
    row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise RunNotFound
    found = connection.execute(
        "SELECT * FROM events WHERE run_id = ? AND last_seq > ? ORDER BY last_seq", (run_id, after)
    )
    batches = chain.from_iterable(map(batches_of, found))
    return Log(run=rows.run_of(row), events=page_of(batches, after=after))


def ended_logs(connection: sqlite3.Connection, *, before: datetime, limit: int) -> tuple[str, ...]:
    """Name the runs that ended before a date and still have events, the earliest first."""
    found = connection.execute(
        """
        SELECT run_id FROM runs
        WHERE finish_time IS NOT NULL AND first_event < next_event - 1 AND finish_time < ?
        ORDER BY finish_time LIMIT ?
        """,
        (rows.microseconds(before), limit),
    )
    return tuple(row["run_id"] for row in found)


def plan_compaction(connection: sqlite3.Connection, *, limit: int) -> list[Compaction]:
    """Say what to replace next in the logs of at most `limit` runs. The costly part, and it needs no writer."""
    found = connection.execute(
        "SELECT run_id FROM runs WHERE finish_time IS NOT NULL AND compacted = 0 ORDER BY finish_time LIMIT ?",
        (limit,),
    )
    steps: list[Compaction] = []
    for row in found.fetchall():
        if sum(step.replaced for step in steps) >= _STEP_ROWS:
            break
        steps += _planned(connection, row["run_id"])
    return steps


def compact(connection: sqlite3.Connection, step: Compaction) -> None:
    """Replace rows by their snapshot, unless they have gone since; within the writer's transaction."""
    if step.snapshot:
        (present,) = connection.execute(f"SELECT count(*) {_REPLACED}", step.snapshot).fetchone()
        if present == step.replaced:
            connection.execute(f"DELETE {_REPLACED}", step.snapshot)
            crash_point("ctx.mid_compaction")
            connection.execute(_INSERT, step.snapshot)
    if step.last:
        connection.execute("UPDATE runs SET compacted = 1 WHERE run_id = ?", (step.run_id,))


_REPLACED = f"FROM events WHERE run_id = :run_id AND last_seq BETWEEN :first_seq AND :last_seq AND schema_v = {BATCH}"
_INSERT = """
    INSERT INTO events (run_id, first_seq, last_seq, epoch, create_time, batch, schema_v)
    VALUES (:run_id, :first_seq, :last_seq, :epoch, :create_time, :batch, :schema_v)
"""


def _planned(connection: sqlite3.Connection, run_id: str) -> Iterator[Compaction]:
    found = connection.execute(
        "SELECT * FROM events WHERE run_id = ? AND schema_v = ? ORDER BY last_seq LIMIT ?", (run_id, BATCH, _STEP_ROWS)
    )
    rows_taken = bytes_taken = 0
    for batches, size in _pieces(batch for row in found for batch in batches_of(row)):
        yield Compaction(run_id=run_id, replaced=len(batches), snapshot=snapshot_row(batches))
        rows_taken, bytes_taken = rows_taken + len(batches), bytes_taken + size
        if bytes_taken >= _STEP_BYTES:
            return
    if rows_taken < _STEP_ROWS:
        yield Compaction(run_id=run_id, last=True)


def _pieces(batches: Iterator[Batch]) -> Iterator[tuple[list[Batch], int]]:
    """Give the writes in groups of the size of a snapshot, and the bytes of each."""
    piece: list[Batch] = []
    size = 0
    for batch in batches:
        length = sum(map(len, batch.bodies))
        if piece and size + length > _SNAPSHOT_BYTES:
            yield piece, size
            piece, size = [], 0
        piece.append(batch)
        size += length
    if piece:
        yield piece, size
