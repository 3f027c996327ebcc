"""What happens to the PostgreSQL store when its server stops, hangs, crashes or loses a connection."""

import asyncio
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from time import monotonic

import psycopg
import pytest
from psycopg import sql

from context_svc.adapters.postgres_address import parse_address
from context_svc.adapters.postgres_connections import Connection, Connections
from context_svc.adapters.postgres_store import PostgresStore, postgres_store
from context_svc.domain.append_events import append_events, append_to_runs
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.run import Batch, Log, Run
from tests.context_svc.given import FakeTime, appended, queued, running, schema_of, writing
from tests.servers.postgres import PostgresServer
from threadmesh.errors import StoreUnavailable
from threadmesh.retry import persist
from threadmesh.retry_budget import unshared
from threadmesh.testing.clock import FakeClock

pytestmark = pytest.mark.alone

SECONDS = 30.0


async def test_a_stopped_server_is_unavailable_at_once_and_found_again_at_its_return(
    store: PostgresStore, clock: FakeClock, server: PostgresServer
) -> None:
    """A7."""
    run = await running(store, clock, "k")
    server.stop()
    began = monotonic()
    try:
        with pytest.raises(StoreUnavailable):
            await appended(store, run, b"a")
        with pytest.raises(StoreUnavailable):
            await store.ping()
        assert monotonic() - began < 2 * 1.5
    finally:
        server.start()
    began = monotonic()
    run = await persist(lambda: appended(store, run, b"a"), seconds=SECONDS, budget=unshared())

    assert monotonic() - began < 2
    assert run.next_sequence == 1


async def test_a_hanging_server_is_unavailable_within_about_a_second(
    store: PostgresStore, clock: FakeClock, server: PostgresServer
) -> None:
    """F10: it neither answers nor refuses."""
    run = await running(store, clock, "k")
    with server.hanging():
        for attempt in (lambda: appended(store, run, b"a"), store.ping, lambda: store.log(run.id, after=-1)):
            began = monotonic()
            with pytest.raises(StoreUnavailable):
                await attempt()
            assert monotonic() - began < 1.7
    began = monotonic()
    await persist(store.ping, seconds=SECONDS, budget=unshared())

    assert monotonic() - began < 2
    assert (await persist(lambda: appended(store, run, b"b"), seconds=SECONDS, budget=unshared())).next_sequence == 1


async def test_a_server_is_waited_for_as_long_as_an_operation_may_take(
    url: str, clock: FakeClock, server: PostgresServer
) -> None:
    async with postgres_store(url, FakeTime(clock), patience=2.5) as store:
        began = monotonic()
        with server.hanging(), pytest.raises(StoreUnavailable):
            await store.ping()

        assert 2.5 <= monotonic() - began < 4
        await persist(store.ping, seconds=SECONDS, budget=unshared())


async def test_a_unit_that_starts_before_its_server_works_as_soon_as_it_is_there(
    url: str, clock: FakeClock, server: PostgresServer
) -> None:
    """A41."""
    async with AsyncExitStack() as stack:
        server.stop()
        try:
            store = await stack.enter_async_context(postgres_store(url, FakeTime(clock)))
            with pytest.raises(StoreUnavailable):
                await store.ping()
        finally:
            server.start()
        began = monotonic()
        await persist(store.ping, seconds=SECONDS, budget=unshared())

        assert monotonic() - began < 2
        assert (await queued(store, "k")).number == 0


# Others that hold locks


async def test_a_process_that_stops_in_the_middle_of_a_change_blocks_others_for_two_seconds_at_most(
    store: PostgresStore, clock: FakeClock, url: str
) -> None:
    """F8: the server ends a transaction of which it hears nothing more."""
    run = await running(store, clock, "k")
    stopped = await Connections(parse_address(url)).open()
    try:
        await stopped.execute("BEGIN")
        await stopped.execute("SELECT * FROM runs FOR UPDATE")
        began = monotonic()

        run = await persist(partial(appended, store, run, b"a"), seconds=SECONDS, budget=unshared())

        assert monotonic() - began < 4
        assert run.next_sequence == 1
    finally:
        stopped.hang_up()


async def test_a_change_that_is_chosen_to_end_a_deadlock_is_made_again(
    url: str, clock: FakeClock, server: PostgresServer
) -> None:
    """F29: somebody else locks two runs in the wrong order."""
    with server.connect() as connection:
        connection.execute("ALTER ROLE mesh SET deadlock_timeout = '20ms'")
        try:
            async with postgres_store(url, FakeTime(clock)) as store:
                runs = sorted([await running(store, clock), await running(store, clock)], key=lambda run: run.id)
                other = await Connections(parse_address(url)).open()
                await other.execute("SET deadlock_timeout = '30s'")
                await other.execute("BEGIN")
                await lock(other, runs[1])
                async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                    writes = tasks.create_task(append_to_runs([writing(run, b"a") for run in runs], store=store))
                    while not waiting_for_a_lock(connection):
                        await asyncio.sleep(0)
                    await lock(other, runs[0])
                    await other.execute("COMMIT")
                other.hang_up()
        finally:
            connection.execute("ALTER ROLE mesh RESET deadlock_timeout")

    assert [run.next_sequence for run in writes.result() if isinstance(run, Run)] == [1, 1]


async def lock(connection: Connection, run: Run) -> None:
    await connection.execute("SELECT * FROM runs WHERE run_id = %s FOR UPDATE", [run.id])


def waiting_for_a_lock(connection: psycopg.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall())


# A connection that is lost while it commits


async def test_a_commit_whose_answer_was_lost_is_known_to_have_happened(
    store: PostgresStore, clock: FakeClock, server: PostgresServer
) -> None:
    """F27: it waits for a standby that does not exist, and is cut off after it was committed on the server."""
    run = await running(store, clock, "k")
    with server.connect() as connection:
        reconfigure(connection, "synchronous_standby_names", "'nobody'")
        try:
            async with asyncio.timeout(SECONDS):
                appending = asyncio.create_task(appended(store, run, b"a"))
                while not terminated(connection, waiting="SyncRep"):
                    await asyncio.sleep(0)
                after = await appending
        finally:
            reconfigure(connection, "synchronous_standby_names", "''")

    assert after.next_sequence == 1
    assert [event.body for event in (await store.log(run.id, after=-1)).events] == [b"a"]


async def test_a_commit_that_was_cut_off_before_it_happened_is_known_not_to_have(
    store: PostgresStore, clock: FakeClock, server: PostgresServer, url: str
) -> None:
    """F27: what was decided is not decided again behind the caller's back."""
    run = await running(store, clock, "k")
    decided = 0

    def decide(state: State) -> tuple[Change, Run]:
        nonlocal decided
        decided += 1
        run = replace(state.existing_run(), next_sequence=1)
        batch = Batch(run_id=run.id, epoch=1, first_sequence=0, create_time=clock.now(), bodies=(b"a",))
        return Change(runs=(run,), events=batch), run

    with server.connect() as connection:
        kill_at_commit(connection, schema_of(url))
        with pytest.raises(StoreUnavailable):
            await store.change(Scope(run_id=run.id), decide)

        assert decided == 1
        assert await store.run(run.id) == run
        connection.execute(sql.SQL("DROP TRIGGER killing ON {}").format(sql.Identifier(schema_of(url), "events")))
    assert (await appended(store, run, b"a")).next_sequence == 1


def reconfigure(connection: psycopg.Connection, name: str, value: str) -> None:
    connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
    connection.execute("SELECT pg_reload_conf()")


def terminated(connection: psycopg.Connection, *, waiting: str) -> bool:
    """End the session that waits so; says whether there was one."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = %s"
    return bool(connection.execute(query, [waiting]).fetchall())


def kill_at_commit(connection: psycopg.Connection, schema: str) -> None:
    """Let every session that adds events end itself in its commit, before anything is committed."""
    table, function = sql.Identifier(schema, "events"), sql.Identifier(schema, "kill")
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        ).format(function)
    )
    connection.execute(
        sql.SQL(
            "CREATE CONSTRAINT TRIGGER killing AFTER INSERT ON {} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION {}()"
        ).format(table, function)
    )


# Crashes


async def test_what_was_acknowledged_is_there_after_crashes_of_the_server(
    url: str, clock: FakeClock, server: PostgresServer
) -> None:
    """A1: `pg_ctl stop -m immediate`, five times, while four writers of two processes write."""
    acknowledged: dict[str, int] = {}
    enough = asyncio.Event()
    goal = 0

    async def write(store: PostgresStore, run: Run) -> None:
        while True:
            write = writing(run, str(run.next_sequence).encode())
            run = await persist(partial(append_events, write, store=store), seconds=SECONDS, budget=unshared())
            acknowledged[run.id] = run.next_sequence
            if sum(acknowledged.values()) >= goal:
                enough.set()

    async with asyncio.timeout(60), AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(postgres_store(url, FakeTime(clock))) for _ in range(2)]
        runs = [await running(store, clock) for store in stores for _ in range(2)]
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(write(stores[place // 2], run)) for place, run in enumerate(runs)]
            for _ in range(5):
                goal = sum(acknowledged.values()) + 100
                enough.clear()
                await enough.wait()
                server.crash()
                server.start()
            for writer in writers:
                writer.cancel()

        for run in runs:
            log = await persist(partial(stores[0].log, run.id, after=-1), seconds=SECONDS, budget=unshared())
            assert len(log.events) >= acknowledged[run.id]
            assert_gapless(log)


def assert_gapless(log: Log) -> None:
    assert [event.body for event in log.events] == [str(number).encode() for number in range(len(log.events))]
    assert log.run.next_sequence == len(log.events)


WRITER = """
import asyncio, sys
from context_svc.adapters.postgres_store import postgres_store
from tests.context_svc.given import FakeTime, appended, running
from threadmesh.testing.clock import FakeClock

async def write():
    clock = FakeClock()
    async with postgres_store(sys.argv[1], FakeTime(clock)) as store:
        run = await running(store, clock, "k")
        print(run.id, flush=True)
        while True:
            run = await appended(store, run, str(run.next_sequence).encode())
            print(run.next_sequence, flush=True)

asyncio.run(write())
"""


async def test_no_acknowledged_event_is_lost_when_the_process_is_killed(store: PostgresStore, url: str) -> None:
    """A1."""
    run_id, *acknowledged = killed_after(50, url)

    log = await store.log(run_id, after=-1)

    assert len(log.events) >= int(acknowledged[-1]) >= 50
    assert_gapless(log)


def killed_after(acknowledged: int, url: str) -> list[str]:
    """Run the writer until it has acknowledged so many events, kill it, and give all it said."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline().strip() for _ in range(acknowledged + 1)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=SECONDS)
    return [*lines, *rest.rpartition("\n")[0].split()]
