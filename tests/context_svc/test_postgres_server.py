"""Which servers, schemas and addresses the PostgreSQL store accepts, and what it makes sure of."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from context_svc.adapters.postgres_address import parse_address
from context_svc.adapters.postgres_store import PostgresStore, postgres_store
from tests.context_svc.given import FakeTime, appended, queued, running, schema_of
from tests.servers.postgres import PostgresServer
from threadmesh.errors import StoreUnavailable
from threadmesh.retry import persist
from threadmesh.retry_budget import unshared
from threadmesh.settings import ConfigurationError
from threadmesh.testing.clock import FakeClock

SECONDS = 30.0


@contextmanager
def restarted(server: PostgresServer, **settings: str) -> Iterator[None]:
    """Run the server with other settings for a while."""
    server.stop()
    server.start(**settings)
    try:
        yield
    finally:
        server.stop()
        server.start()


# Promises


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_can_lose_what_it_acknowledged_is_refused(server: PostgresServer, setting: str) -> None:
    """A8."""
    with restarted(server, **{setting: "off"}):
        with pytest.raises(ConfigurationError, match=f"{setting}=off") as caught:
            async with postgres_store(server.url()):
                pass

        assert "\n" not in caught.value.message


async def test_an_unsafe_server_is_accepted_when_the_operator_says_so_and_the_log_says_what_that_means(
    server: PostgresServer, clock: FakeClock
) -> None:
    with restarted(server, fsync="off"), capture_logs() as logs:
        async with postgres_store(server.url(), FakeTime(clock), allow_unsafe=True) as store:
            await queued(store, "k")

    assert any(each["event"] == "store.unsafe" and each["setting"] == "fsync" for each in logs)


async def test_a_server_that_comes_back_unsafe_is_not_written_to(store: PostgresStore, server: PostgresServer) -> None:
    with restarted(server, fsync="off"):
        async with asyncio.timeout(SECONDS):
            while await cause_of_failure(store) != "not prepared":
                await asyncio.sleep(0)
    await persist(store.ping, seconds=SECONDS, budget=unshared())


async def cause_of_failure(store: PostgresStore) -> str:
    try:
        await store.ping()
    except StoreUnavailable as error:
        return error.facts["cause"]
    return ""


async def test_commits_are_flushed_whatever_the_default_is(
    store: PostgresStore, clock: FakeClock, server: PostgresServer, url: str
) -> None:
    """M22: the role's default is off; what was in force is noted while events are added."""
    run = await running(store, clock, "k")
    with server.connect() as connection:
        connection.execute("ALTER ROLE mesh SET synchronous_commit = off")
        try:
            note_setting(connection, schema_of(url))
            async with postgres_store(url, FakeTime(clock)) as fresh:
                await appended(fresh, run, b"a")
            noted = connection.execute(sql.SQL("SELECT value FROM {}").format(sql.Identifier(schema_of(url), "noted")))
            assert noted.fetchall() == [("on",)]
        finally:
            connection.execute("ALTER ROLE mesh RESET synchronous_commit")


def note_setting(connection: psycopg.Connection, schema: str) -> None:
    names = {name: sql.Identifier(schema, name) for name in ("noted", "note", "events")}
    body = "BEGIN INSERT INTO {noted} VALUES (current_setting('synchronous_commit')); RETURN NULL; END"
    for statement in (
        "CREATE TABLE {noted} (value TEXT)",
        f"CREATE FUNCTION {{note}}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        "CREATE TRIGGER noting AFTER INSERT ON {events} FOR EACH ROW EXECUTE FUNCTION {note}()",
    ):
        connection.execute(sql.SQL(statement).format(**names))


# Tables


async def test_many_processes_can_start_at_once(url: str, clock: FakeClock) -> None:
    async def opened() -> int:
        async with postgres_store(url, FakeTime(clock)) as store:
            return (await queued(store, "k")).number

    assert sorted(await asyncio.gather(*(opened() for _ in range(6)))) == list(range(6))


async def test_everything_is_there_when_the_store_is_opened_again(url: str, clock: FakeClock) -> None:
    async with postgres_store(url, FakeTime(clock)) as store:
        run = await running(store, clock, "k")
    async with postgres_store(url, FakeTime(clock)) as store:
        assert await store.run(run.id) == run


async def test_two_schemas_of_a_database_know_nothing_of_each_other(server: PostgresServer, clock: FakeClock) -> None:
    async with (
        postgres_store(server.url(), FakeTime(clock)) as one,
        postgres_store(server.url(), FakeTime(clock)) as other,
    ):
        await queued(one, "k")

        assert (await other.census()).threads == 0


async def test_tables_of_a_later_version_are_refused(
    store: PostgresStore, server: PostgresServer, url: str, clock: FakeClock
) -> None:
    """A5."""
    with server.connect() as connection:
        table = sql.Identifier(schema_of(url), "schema_version")
        connection.execute(sql.SQL("INSERT INTO {} VALUES (999)").format(table))

    with pytest.raises(ConfigurationError, match="later version"):
        async with postgres_store(url, FakeTime(clock)):
            pass


async def test_a_role_that_may_not_make_tables_is_refused(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")

    with pytest.raises(ConfigurationError, match="permission denied"):
        async with postgres_store(server.url(user="guest")):
            pass


def test_a_unit_with_an_unsafe_server_ends_with_one_line_and_status_78(server: PostgresServer) -> None:
    """A42."""
    chosen = {"CONTEXT_STORE": f"postgres:{server.url()}", "CONTEXT_PORT": "0", "CONTEXT_METRICS_PORT": "0"}
    with restarted(server, fsync="off"):
        ended = subprocess.run(
            [sys.executable, "-m", "context_svc"],
            env={**os.environ, **chosen},
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    assert ended.returncode == 78
    assert [line for line in ended.stderr.splitlines() if line.startswith("context_svc: configuration:")] == [
        ended.stderr.splitlines()[-1]
    ]
    assert "fsync=off" in ended.stderr


# Addresses


@pytest.mark.parametrize(
    ("place", "schema", "name"),
    [
        ("//mesh:secret@db.local:5433/chat", "threadmesh", "db.local/chat"),
        ("postgresql://mesh@db.local/chat?schema=other&sslmode=require", "other", "db.local/chat"),
        ("postgres://mesh@one,two/chat", "threadmesh", "one,two/chat"),
        ("///chat?host=/var/run/pg%20sockets", "threadmesh", "/var/run/pg sockets/chat"),
    ],
)
def test_an_address_names_a_server_a_database_and_a_schema(place: str, schema: str, name: str) -> None:
    address = parse_address(place)

    assert (address.schema, address.name) == (schema, name)
    assert "target_session_attrs=read-write" in address.conninfo
    assert "schema" not in address.conninfo


@pytest.mark.parametrize(
    "place", ["//mesh:secret@db/chat?colour=red", "//mesh:secret@db/chat?schema=a%20b", "//m:secret@[::1/chat"]
)
def test_a_wrong_address_is_refused_without_repeating_its_password(place: str) -> None:
    with pytest.raises(ConfigurationError, match="CONTEXT_STORE") as caught:
        parse_address(place)

    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message
