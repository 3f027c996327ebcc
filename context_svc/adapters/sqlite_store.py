"""Threads and runs in one SQLite file: durable on one machine, with nothing to install."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from context_svc.adapters import rows, statements
from context_svc.adapters import sqlite_logs as logs
from context_svc.adapters.hints import Hint, Hints
from context_svc.adapters.sqlite_changes import KnownRuns, read_state, restart_leases, stored_by, write_change
from context_svc.adapters.sqlite_file import clear, prepare, require_lasting
from context_svc.adapters.sqlite_threads import Readers, Writer
from context_svc.domain.call import Call
from context_svc.domain.change import Change, Moment, Scope
from context_svc.domain.item import Item
from context_svc.domain.ports import DIFFERENT_INSTRUCTIONS, Census, Cursor, Decide, Outcome
from context_svc.domain.run import Log, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.clock import Clock
from threadmesh.errors import MeshError, RunNotFound, StoreUnavailable, ThreadNotFound

_ALL = 1 << 62
_SAID = "FROM items INDEXED BY items_instructions WHERE thread_id = ?1 AND role IN ('system', 'developer')"
INSTRUCTIONS = f"""
    WITH RECURSIVE different(digest) AS (
        SELECT min(digest) {_SAID}
        UNION ALL
        SELECT (SELECT min(digest) {_SAID} AND items.digest > different.digest) FROM different WHERE digest IS NOT NULL
        LIMIT {DIFFERENT_INSTRUCTIONS + 1}
    )
    SELECT {rows.ITEM_COLUMNS} FROM different CROSS JOIN items
    WHERE items.thread_id = ?1 AND items.seq = (SELECT min(seq) {_SAID} AND items.digest = different.digest)
    ORDER BY items.seq
"""  # noqa: S608  # our own words
"""Jumps in the index from one instruction to the next different one, however often each was repeated."""
_FIRST = f"""
    SELECT {rows.ITEM_COLUMNS} FROM items
    WHERE thread_id = ?1 AND role IN ('system', 'developer') ORDER BY seq LIMIT 1
"""  # noqa: S608  # our own words


@asynccontextmanager
async def sqlite_store(path: Path, clock: Clock, *, allow_unsafe: bool = True) -> AsyncIterator["SqliteStore"]:
    """Open the store in the file `path`, making it when it is missing; closed when the block ends.

    Raises `ConfigurationError` when the path cannot be used or a later version wrote the file, and for a file system in
    main memory unless `allow_unsafe`.
    """
    require_lasting(path, allow_unsafe=allow_unsafe)
    prepare(path)
    known = KnownRuns()
    writer, readers = Writer(path, undone=known.forget), Readers(path)
    store = SqliteStore(writer, readers, known, clock)
    try:
        await store.restart_leases()
        yield store
    finally:
        await readers.close()
        await writer.close()


class SqliteStore:
    """Keeps threads and runs in SQLite tables, with a write-ahead log and every commit flushed to the disk."""

    def __init__(self, writer: Writer, readers: Readers, known: KnownRuns, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._known = known
        self._clock = clock
        self._hints = Hints()

    async def restart_leases(self) -> None:
        """Measure leases and deadlines by this boot's clock; a writer that still lives gets a lease to say so."""
        await self._writer.write(partial(restart_leases, now=self._now()))

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """See `Writer.change`."""
        change, outcome = await self._writer.write(partial(self._change, scope, decide))
        self._hints.tell(change)
        if change.deleted:
            await self._clear()
        return outcome

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """See `Writer.change_each`."""
        answers = await self._writer.write_each([partial(self._change, scope, decide) for scope, decide in wanted])
        outcomes: list[Outcome | MeshError] = []
        for answer in answers:
            if isinstance(answer, MeshError):
                outcomes.append(answer)
            elif isinstance(answer, Exception):
                raise answer
            else:
                change, outcome = answer
                self._hints.tell(change)
                outcomes.append(outcome)
        return outcomes

    def _change(self, scope: Scope, decide: Decide[Outcome], connection: sqlite3.Connection) -> tuple[Change, Outcome]:
        state = read_state(connection, scope, self._now(), self._known)
        change, outcome = decide(state)
        write_change(connection, change, before=state.thread)
        self._known.note(change)
        return change, outcome

    async def thread(self, thread_id: str) -> Thread:
        """See `ThreadStore.thread`."""
        for row in await self._select("SELECT * FROM threads WHERE thread_id = ?", thread_id):
            return rows.thread_of(row)
        raise ThreadNotFound

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
        whose, values = statements.narrowed("?", tenant=tenant)
        statement = list_threads(whose, ascending=ascending)
        place = _beyond(after, ascending=ascending)
        found = await self._select(statement, *values, len(key_prefix), key_prefix, *place, limit)
        return tuple(map(rows.thread_of, found))

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """See `ThreadStore.items`."""
        if descending:
            where, beyond = "seq < ? ORDER BY seq DESC", _ALL if after is None else after
        else:
            where, beyond = "seq > ? ORDER BY seq", -1 if after is None else after
        found = await self._select(
            f"SELECT {rows.ITEM_COLUMNS} FROM items WHERE thread_id = ? AND {where} LIMIT ?",  # noqa: S608  # constants
            thread_id,
            beyond,
            limit,
        )
        return rows.items_of(found)

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """See `ThreadStore.instructions`."""
        return rows.items_of(await self._readers.read(partial(_instructions, thread_id)))

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `ThreadStore.idle_threads`."""
        found = await self._select(
            """
            SELECT thread_id FROM threads
            WHERE ephemeral = 1 AND update_time < ? AND NOT EXISTS (
                SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id AND finish_time IS NULL
            )
            LIMIT ?
            """,
            rows.microseconds(before),
            limit,
        )
        return tuple(row["thread_id"] for row in found)

    async def forget_receipts(self, *, before: datetime) -> int:
        """See `ThreadStore.forget_receipts`."""
        statement, values = "DELETE FROM idem WHERE expires < ?", (rows.microseconds(before),)
        forgotten = await self._writer.write(lambda connection: connection.execute(statement, values).rowcount)
        await self._clear()
        return forgotten

    async def run(self, run_id: str) -> Run:
        """See `RunStore.run`."""
        for row in await self._select("SELECT * FROM runs WHERE run_id = ?", run_id):
            return rows.run_of(row)
        raise RunNotFound

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
        whose, values = statements.narrowed("?", tenant=tenant, thread_id=thread_id or None)
        wanted = [state.value for state in states or RunState]
        found = await self._select(list_runs(whose, len(wanted)), *values, *wanted, *_beyond(after), limit)
        return tuple(map(rows.run_of, found))

    async def log(self, run_id: str, *, after: int) -> Log:
        """See `RunStore.log`."""
        return await self._readers.read(partial(logs.read_log, run_id=run_id, after=after))

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """See `RunStore.input`."""
        return rows.items_of(await self._select(statements.list_input("?"), run_id))

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """See `RunStore.calls`."""
        found = await self._select("SELECT * FROM calls WHERE run_id = ? ORDER BY ordinal, call_id", run_id)
        return tuple(map(rows.call_of, found))

    def changes(self, topic: str) -> AbstractContextManager[Hint]:
        """See `RunStore.changes`."""
        return self._hints.follow(topic)

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """See `RunStore.overdue`."""
        now = self._clock.monotonic()
        found = await self._select(
            "SELECT run_id FROM runs WHERE finish_time IS NULL AND (expires <= ? OR lease_until <= ?) LIMIT ?",
            now,
            now - abandoned_after,
            limit,
        )
        return tuple(row["run_id"] for row in found)

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_logs`."""
        return await self._readers.read(partial(logs.ended_logs, before=before, limit=limit))

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_inputs`."""
        found = await self._select(statements.ended_inputs("?"), rows.microseconds(before), limit)
        return tuple(row["run_id"] for row in found)

    async def compact(self, *, limit: int) -> int:
        """See `RunStore.compact`."""
        steps = await self._readers.read(partial(logs.plan_compaction, limit=limit))
        for answer in await self._writer.write_each([partial(logs.compact, step=step) for step in steps]):
            if isinstance(answer, Exception):
                raise answer
        return len({step.run_id for step in steps})

    async def stored(self, tenant: str) -> int:
        """See `Store.stored`."""
        return await self._readers.read(partial(stored_by, tenant=tenant))

    async def census(self) -> Census:
        """See `Store.census`."""
        (threads,) = await self._select("SELECT count(*) AS number FROM threads")
        found = await self._select(
            "SELECT state, count(*) AS number, min(create_time) AS oldest FROM runs "
            "WHERE finish_time IS NULL GROUP BY state"
        )
        oldest = {row["state"]: rows.date(row["oldest"]) for row in found}.get(RunState.QUEUED.value)
        return Census(
            threads=threads["number"],
            open_runs={RunState(row["state"]): row["number"] for row in found},
            oldest_queued_seconds=(self._clock.now() - oldest).total_seconds() if oldest else 0.0,
        )

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._writer.write(lambda connection: connection.execute("SELECT 1").fetchone())

    async def _select(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        return await self._readers.read(lambda connection: connection.execute(statement, values).fetchall())

    async def _clear(self) -> None:
        """Leave no trace of what was deleted; what cannot be cleared now is cleared with the next pruning."""
        with suppress(StoreUnavailable):
            await self._writer.maintain(clear)

    def _now(self) -> Moment:
        return Moment(time=self._clock.now(), steady=self._clock.monotonic())


def _instructions(thread_id: str, connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """Where there are too many different ones, the first of all is the next that the order of numbers comes upon."""
    found = connection.execute(INSTRUCTIONS, (thread_id,)).fetchall()
    if len(found) <= DIFFERENT_INSTRUCTIONS:
        return found
    return connection.execute(_FIRST, (thread_id,)).fetchall()


def _beyond(after: Cursor | None, *, ascending: bool = False) -> tuple[int, str]:
    return (rows.microseconds(after.time), after.id) if after else (-_ALL if ascending else _ALL, "")


def list_threads(whose: str, *, ascending: bool) -> str:
    """Give the statement that lists threads for which a condition holds, behind a place."""
    return f"""
        SELECT * FROM threads WHERE {whose} AND ephemeral = 0 AND substr(key, 1, ?) = ?
        AND (update_time, thread_id) {statements.beyond("?", ascending=ascending)} LIMIT ?
    """  # noqa: S608  # our own words


def list_runs(whose: str, states: int) -> str:
    """Give the statement that lists runs of so many states for which a condition holds."""
    places = ", ".join("?" for _ in range(states))
    return f"""
        SELECT * FROM runs
        WHERE {whose} AND state IN ({places}) AND (create_time, run_id) < (?, ?)
        ORDER BY create_time DESC, run_id DESC LIMIT ?
    """  # noqa: S608  # only question marks are filled in
