"""Threads and runs in a PostgreSQL database, which any number of processes share."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
import structlog
from psycopg.rows import DictRow

from context_svc.adapters import rows, statements
from context_svc.adapters.hints import Hint, Hints
from context_svc.adapters.postgres_address import Address, parse_address
from context_svc.adapters.postgres_changes import Changer
from context_svc.adapters.postgres_connections import PATIENCE_SECONDS, Connection, Connections
from context_svc.adapters.postgres_hints import SharedHints
from context_svc.adapters.postgres_log import read_log
from context_svc.adapters.postgres_reading import read_stored, read_time
from context_svc.adapters.postgres_server import prepare
from context_svc.adapters.postgres_time import ServerTime, Timekeeper
from context_svc.domain.call import Call
from context_svc.domain.change import Moment, Scope
from context_svc.domain.item import Item
from context_svc.domain.ports import DIFFERENT_INSTRUCTIONS, Census, Cursor, Decide, Outcome
from context_svc.domain.run import Log, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import MeshError, RunNotFound, ThreadNotFound
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

_ALL = 1 << 62
_START_SECONDS = 10.0


@asynccontextmanager
async def postgres_store(
    place: str,
    time: Timekeeper | None = None,
    *,
    allow_unsafe: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator["PostgresStore"]:
    """Open the store at the URL `place`, making its tables when they are missing; closed when the block ends.

    An operation that takes more than `patience` seconds raises `StoreUnavailable`.
    A server that cannot be reached is looked for until it is there; meanwhile everything raises `StoreUnavailable`.
    Raises `ConfigurationError` when the address is wrong, when the server can lose what it acknowledged and
    `allow_unsafe` does not accept that, or when a later version made the tables.
    """
    address = parse_address(place)
    connections, hints = Connections(address, patience=patience), Hints()
    prepared = partial(_prepare, connections, address, allow_unsafe=allow_unsafe)
    shared = SharedHints(connections, channel=f"{address.schema}_changes", hints=hints)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await connections.once(prepared)
    except (psycopg.Error, TimeoutError) as error:
        log.warning("store.away", store=address.name, error=str(error))
    try:
        async with shared.shared(prepared):
            yield PostgresStore(connections, shared, hints, time or ServerTime())
    finally:
        connections.close()


async def _prepare(connections: Connections, address: Address, connection: Connection, *, allow_unsafe: bool) -> None:
    try:
        await prepare(connection, address, allow_unsafe=allow_unsafe)
    except ConfigurationError:
        connections.ready = False
        raise
    connections.ready = True


class PostgresStore:
    """Keeps threads and runs in PostgreSQL tables, every commit flushed to the server's disk.

    Processes that share the database share everything but their hints of other processes' changes, which may come a
    moment late. A lost server is found again by the first operation after its return.
    """

    def __init__(self, connections: Connections, shared: SharedHints, hints: Hints, time: Timekeeper) -> None:
        self._connections = connections
        self._shared = shared
        self._hints = hints
        self._time = time
        self._changer = Changer(connections, time)

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """See `Writer.change`."""
        (outcome,) = await self.change_each([(scope, decide)])
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """See `Writer.change_each`."""
        made = await self._changer.make(wanted)
        self._shared.tell(made.changes)
        return made.outcomes

    async def thread(self, thread_id: str) -> Thread:
        """See `ThreadStore.thread`."""
        for row in await self._select("SELECT * FROM threads WHERE thread_id = %s", thread_id):
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
        whose, values = statements.narrowed("%s", tenant=tenant)
        beyond = statements.beyond("%s", ascending=ascending)
        found = await self._select(
            f"""
            SELECT * FROM threads
            WHERE {whose} AND NOT ephemeral AND starts_with(key, %s) AND (update_time, thread_id) {beyond} LIMIT %s
            """,  # noqa: S608  # our own words
            *values,
            key_prefix,
            *_beyond(after, ascending=ascending),
            limit,
        )
        return tuple(map(rows.thread_of, found))

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """See `ThreadStore.items`."""
        if descending:
            where, beyond = "seq < %s ORDER BY seq DESC", _ALL if after is None else after
        else:
            where, beyond = "seq > %s ORDER BY seq", -1 if after is None else after
        statement = f"SELECT {rows.ITEM_COLUMNS} FROM items WHERE thread_id = %s AND {where} LIMIT %s"  # noqa: S608  # constants
        return _items(await self._select(statement, thread_id, beyond, limit))

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """See `ThreadStore.instructions`."""
        found = await self._select(
            f"""
            SELECT {rows.ITEM_COLUMNS} FROM items WHERE thread_id = %s AND seq IN (
                SELECT min(seq) FROM items WHERE thread_id = %s AND role IN ('system', 'developer')
                GROUP BY digest ORDER BY min(seq) LIMIT {DIFFERENT_INSTRUCTIONS + 1}
            )
            ORDER BY seq
            """,  # noqa: S608  # our own columns
            thread_id,
            thread_id,
        )
        return _items(found if len(found) <= DIFFERENT_INSTRUCTIONS else found[:1])

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `ThreadStore.idle_threads`."""
        found = await self._select(
            """
            SELECT thread_id FROM threads
            WHERE ephemeral AND update_time < %s AND NOT EXISTS (
                SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id AND finish_time IS NULL
            )
            LIMIT %s
            """,
            rows.microseconds(before),
            limit,
        )
        return tuple(row["thread_id"] for row in found)

    async def forget_receipts(self, *, before: datetime) -> int:
        """See `ThreadStore.forget_receipts`."""
        found = await self._select(
            "WITH gone AS (DELETE FROM idem WHERE expires < %s RETURNING 1) SELECT count(*) AS number FROM gone",
            rows.microseconds(before),
        )
        await self._select("DELETE FROM commits WHERE time < now() - interval '1 minute' RETURNING 1 AS number")
        return int(found[0]["number"])

    async def run(self, run_id: str) -> Run:
        """See `RunStore.run`."""
        for row in await self._select("SELECT * FROM runs WHERE run_id = %s", run_id):
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
        whose, values = statements.narrowed("%s", tenant=tenant, thread_id=thread_id or None)
        found = await self._select(
            f"""
            SELECT * FROM runs
            WHERE {whose} AND state = ANY(%s) AND (create_time, run_id) < (%s, %s)
            ORDER BY create_time DESC, run_id DESC LIMIT %s
            """,  # noqa: S608  # our own words
            *values,
            [state.value for state in states or RunState],
            *_beyond(after),
            limit,
        )
        return tuple(map(rows.run_of, found))

    async def log(self, run_id: str, *, after: int) -> Log:
        """See `RunStore.log`."""
        return await self._connections.use(partial(read_log, run_id, after))

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """See `RunStore.input`."""
        return _items(await self._select(statements.list_input("%s"), run_id))

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """See `RunStore.calls`."""
        found = await self._select("SELECT * FROM calls WHERE run_id = %s ORDER BY ordinal, call_id", run_id)
        return tuple(map(rows.call_of, found))

    def changes(self, topic: str) -> AbstractContextManager[Hint]:
        """See `RunStore.changes`."""
        return self._hints.follow(topic)

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """See `RunStore.overdue`."""
        now = (await self._now()).steady
        found = await self._select(
            "SELECT run_id FROM runs WHERE finish_time IS NULL AND (expires <= %s OR lease_until <= %s) LIMIT %s",
            now,
            now - abandoned_after,
            limit,
        )
        return tuple(row["run_id"] for row in found)

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_logs`."""
        found = await self._select(
            """
            SELECT run_id FROM runs
            WHERE finish_time IS NOT NULL AND first_event < next_event - 1 AND finish_time < %s
            ORDER BY finish_time LIMIT %s
            """,
            rows.microseconds(before),
            limit,
        )
        return tuple(row["run_id"] for row in found)

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_inputs`."""
        found = await self._select(statements.ended_inputs("%s"), rows.microseconds(before), limit)
        return tuple(row["run_id"] for row in found)

    async def compact(self, *, limit: int) -> int:
        """See `RunStore.compact`: PostgreSQL keeps large rows compressed by itself, and small ones in pages."""
        del limit
        return 0

    async def stored(self, tenant: str) -> int:
        """See `Store.stored`."""
        found = await self._connections.use(partial(read_stored, tenant))
        return sum(row["bytes"] for row in found)

    async def census(self) -> Census:
        """See `Store.census`."""
        now = (await self._now()).time
        (threads,) = await self._select("SELECT count(*) AS number FROM threads")
        found = await self._select(
            "SELECT state, count(*) AS number, min(create_time) AS oldest FROM runs "
            "WHERE finish_time IS NULL GROUP BY state"
        )
        oldest = {row["state"]: rows.date(row["oldest"]) for row in found}.get(RunState.QUEUED.value)
        return Census(
            threads=threads["number"],
            open_runs={RunState(row["state"]): row["number"] for row in found},
            oldest_queued_seconds=(now - oldest).total_seconds() if oldest else 0.0,
        )

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._select("SELECT pg_current_xact_id() FROM steady_clock")

    async def _now(self) -> Moment:
        return await self._connections.use(lambda connection: read_time(connection, self._time))

    async def _select(self, statement: str, *values: Any) -> list[DictRow]:
        async def job(connection: Connection) -> list[DictRow]:
            return await (await connection.execute(statement, values)).fetchall()

        return await self._connections.use(job)


def _beyond(after: Cursor | None, *, ascending: bool = False) -> tuple[int, str]:
    return (rows.microseconds(after.time), after.id) if after else (-_ALL if ascending else _ALL, "")


def _items(found: Iterable[DictRow]) -> tuple[Item, ...]:
    """Read rows of the `ITEM_COLUMNS` or `INPUT_COLUMNS`."""
    return rows.items_of(row.values() for row in found)
