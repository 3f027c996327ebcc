"""What a PostgreSQL store alone can get wrong: commits, tables, texts, its listener, queries without an index."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from context_svc.adapters import postgres_reading as reading
from context_svc.adapters.postgres_log import BATCHES
from context_svc.adapters.postgres_store import PostgresStore
from context_svc.domain.append_events import append_to_runs
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.delete import delete
from context_svc.domain.item import numbered
from context_svc.domain.resolve import resolve
from context_svc.domain.run import Run
from tests.context_svc.given import (
    FakeTime,
    appended,
    claimed,
    finished,
    patient_postgres,
    queued,
    running,
    said,
    schema_of,
    started,
    texts,
    writing,
)
from tests.servers.postgres import PostgresServer
from threadmesh.errors import Internal, InvalidArgument, MeshError
from threadmesh.testing.clock import FakeClock

SECONDS = 30.0
TABLES = ("threads", "runs", "items", "events", "idem")


@pytest.fixture
async def stores(url: str, clock: FakeClock) -> AsyncIterator[list[PostgresStore]]:
    """Two stores over one schema, as two processes would have them."""
    async with (
        patient_postgres(url, FakeTime(clock)) as one,
        patient_postgres(url, FakeTime(clock)) as other,
    ):
        yield [one, other]


# Commits and tables


async def test_changes_of_one_call_see_what_the_ones_before_them_left(store: PostgresStore, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    first = writing(run, b"a")
    second = writing(run, b"b", first=1)

    results = await append_to_runs([first, second, second, writing(run, b"x", first=9)], store=store)

    assert [each.next_sequence for each in results if isinstance(each, Run)] == [1, 2, 2]
    assert isinstance(results[3], MeshError)
    assert [event.body for event in (await store.log(run.id, after=-1)).events] == [b"a", b"b"]


async def test_a_change_that_the_database_refuses_leaves_nothing_behind(store: PostgresStore, clock: FakeClock) -> None:
    thread = (await resolve("k", metadata={}, store=store)).thread

    def broken(state: State) -> tuple[Change, None]:
        """Take the same number for two items."""
        items = numbered((said("x"),), thread_id=thread.id, first=0, now=clock.now()) * 2
        return Change(thread=replace(thread, item_count=9), items=items), None

    with pytest.raises(Internal):
        await store.change(Scope(thread_id=thread.id), broken)

    assert await store.thread(thread.id) == thread
    assert await texts(store, thread.id) == []


async def test_deleting_a_thread_leaves_no_row_of_it(
    store: PostgresStore, clock: FakeClock, server: PostgresServer, url: str
) -> None:
    run = (await started(store, thread_key="k", key="a")).run
    run = await appended(store, await claimed(store, clock, run), b"x")
    kept = await queued(store, "kept")
    await finished(store, run, items=(said("answer"),))
    await delete(run.thread_id, store=store)

    with server.connect() as connection:
        left = {table: rows_of(connection, schema_of(url), table) for table in TABLES}
    assert left == {"threads": 1, "runs": 1, "items": 0, "events": 0, "idem": 0}
    assert (await store.run(kept.id)) == kept


def rows_of(connection: psycopg.Connection, schema: str, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
    (number,) = connection.execute(query).fetchone() or (0,)
    return int(number)


async def test_a_name_with_a_nul_is_refused(store: PostgresStore) -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        await resolve("a\0b", metadata={}, store=store)


async def test_a_message_with_a_nul_comes_back_as_it_was(store: PostgresStore, clock: FakeClock) -> None:
    run = (await started(store, text="a\0b")).run

    await claimed(store, clock, run)

    assert await texts(store, run.thread_id) == ["a\0b"]


# The listener


async def test_a_listener_that_was_lost_comes_back_and_wakes_everybody(
    stores: list[PostgresStore], clock: FakeClock, server: PostgresServer
) -> None:
    run = await running(stores[0], clock, "k")
    async with asyncio.timeout(SECONDS):
        with stores[1].changes(run.id) as changes, stores[1].changes("somebody else's") as others:
            with server.connect() as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            await changes.wait(SECONDS)
            await others.wait(SECONDS)
            await appended(stores[0], run, b"a")
            await changes.wait(SECONDS)

        assert (await stores[1].run(run.id)).next_sequence == 1


# What is asked often


QUERIES = [
    *(reading._THREADS, reading._RUNS, reading._RUNS_OF_THREADS, reading._RECEIPTS, reading._RUNS_OF_RECEIPTS),
    *(BATCHES, "SELECT * FROM items WHERE thread_id = 'a' AND seq < 9 ORDER BY seq DESC LIMIT 100"),
]


@pytest.mark.parametrize("query", QUERIES)
async def test_what_is_asked_often_is_found_by_an_index(
    store: PostgresStore, server: PostgresServer, url: str, query: str
) -> None:
    values = {name: ["a"] for name in ("threads", "keys", "tenants", "whole_runs", "runs", "known", "receipts")}
    with server.connect() as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(
            "SELECT set_config('search_path', %s, false), set_config('enable_seqscan', 'off', false)", [schema_of(url)]
        )
        cursor.execute(
            "EXPLAIN " + cursor.mogrify(query, {**values, "run_id": "a", "after": 1, "batches": 9, "bytes": 9})
        )
        plan = "\n".join(row[0] for row in cursor)

    assert "Index" in plan
    assert "Seq Scan" not in plan
