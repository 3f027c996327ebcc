"""What a version that did not count yet has stored is counted when the store is opened."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.append_events import append_events
from context_svc.domain.call import Call, CallState
from context_svc.domain.ports import Store
from context_svc.domain.start import StartRequest, start
from tests.context_svc.given import (
    FakeTime,
    GivenTime,
    claimed,
    finished,
    new_prefix,
    patient_postgres,
    patient_redis,
    postgres_server,
    said,
    schema_of,
    stored_exactly,
    valkey_server,
    writing,
)
from threadmesh.testing.clock import FakeClock

TENANTS = ("", "home")
OF_BEFORE = """
    DROP TABLE stored;
    DROP INDEX runs_open_of_tenant;
    ALTER TABLE threads DROP COLUMN bytes;
    ALTER TABLE threads DROP COLUMN counted;
    ALTER TABLE runs DROP COLUMN bytes;
    ALTER TABLE runs DROP COLUMN counted;
"""


@dataclass(frozen=True)
class Kept:
    """A store that can be opened again, and what makes it one of before."""

    opened: Callable[[], AbstractAsyncContextManager[Store]]
    age: Callable[[], None]


def in_sqlite(path: Path, clock: FakeClock) -> Kept:
    def age() -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"{OF_BEFORE} DELETE FROM schema_version WHERE version > 5")

    return Kept(partial(sqlite_store, path, clock), age)


def in_postgres(path: Path, clock: FakeClock) -> Kept:
    del path
    url = postgres_server().url()

    def age() -> None:
        with postgres_server().connect() as connection:
            connection.execute(f'SET search_path TO "{schema_of(url)}"')
            connection.execute(f"{OF_BEFORE} DELETE FROM schema_version WHERE version > 4")

    return Kept(partial(patient_postgres, url, FakeTime(clock)), age)


def in_redis(path: Path, clock: FakeClock) -> Kept:
    del path
    prefix = new_prefix()

    def age() -> None:
        with valkey_server().client() as client:
            client.delete(f"{prefix}stored")
            client.hset(f"{prefix}meta", "schema", 1)
            for kind in ("thread", "run"):
                for key in client.scan_iter(f"{prefix}{kind}:*", count=1000, _type="hash"):
                    client.hdel(key, "bytes", "base")

    return Kept(partial(patient_redis, valkey_server().url, GivenTime(clock), prefix=prefix), age)


@pytest.fixture(params=[in_sqlite, in_postgres, in_redis])
def kept(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Kept:
    made: Kept = request.param(tmp_path / "context.db", clock)
    return made


@asynccontextmanager
async def filled(kept: Kept, clock: FakeClock) -> AsyncIterator[Store]:
    """A store with something of everything, in threads of two tenants."""
    async with kept.opened() as store:
        for tenant in TENANTS:
            for text in ("first", "zweiter ünï 🦉"):
                request = StartRequest(
                    input=(said(text),), timeout=60, thread_key="k", tenant=tenant, parameters_json='{"ä": 1}'
                )
                run = await claimed(store, clock, (await start(request, store=store)).run)
                calls = [
                    Call(id=name, run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.INTENT)
                    for name in ("a", "b")
                ]
                for number in range(3):
                    run = await append_events(writing(run, b"event %d" % number, calls=tuple(calls)), store=store)
                await finished(store, run, b"last", items=(said("bye"),))
        yield store


async def test_what_was_there_before_is_counted(kept: Kept, clock: FakeClock) -> None:
    async with filled(kept, clock) as store:
        while await store.compact(limit=10):
            pass
        before = [await stored_exactly(store, tenant) for tenant in TENANTS]
    kept.age()
    async with kept.opened() as store:
        after = [await stored_exactly(store, tenant) for tenant in TENANTS]

    assert after == before
    assert min(after) > 1000


async def test_runs_that_are_open_meanwhile_are_counted_with_their_input(kept: Kept, clock: FakeClock) -> None:
    async with filled(kept, clock) as store:
        request = StartRequest(input=(said("open"),), timeout=60, thread_key="k", tenant="home")
        first, second = [(await start(request, store=store)).run for _ in range(2)]
        first = await append_events(writing(await claimed(store, clock, first), b"open"), store=store)
        before = await store.stored("home")
    kept.age()
    async with kept.opened() as store:
        after = await store.stored("home")
        await finished(store, first)
        await finished(store, await claimed(store, clock, second))
        await stored_exactly(store, "home")

    assert after == before
