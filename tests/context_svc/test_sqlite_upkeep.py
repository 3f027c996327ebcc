"""What SQLite alone can get wrong when it forgets and compacts: traces in its files, crashes, earlier versions."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters import sqlite_file
from context_svc.adapters.sqlite_file import connect
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.append_events import append_events
from context_svc.domain.append_items import append_items
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.ports import Store
from context_svc.domain.retain import prune_threads
from context_svc.domain.retention import Retention, parse_rules
from context_svc.edge.upkeep import Upkeep
from tests.context_svc.given import appended, claimed, finished, running, said, started, whole_log, writing
from threadmesh.conversation import Role
from threadmesh.testing.clock import FakeClock

CANARY = "canary-7c1f2a"


def traces(database: Path, words: bytes = CANARY.encode()) -> list[str]:
    return [path.name for path in database.parent.iterdir() if words in path.read_bytes()]


async def secret(store: Store, clock: FakeClock) -> str:
    """A turn with secrets in its question, events, calls and answer; gives the thread's name."""
    run = await claimed(store, clock, (await started(store, thread_key="k", text=f"{CANARY}-input")).run)
    call = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json=f'"{CANARY}-call"', state=CallState.SENT)
    run = await append_events(writing(run, f"{CANARY}-event".encode(), calls=(call,)), store=store)
    await finished(store, run, items=(said(f"{CANARY}-item " * 3000, Role.ASSISTANT),))
    return run.thread_id


async def test_a_pruned_turn_leaves_no_trace_in_any_file(database: Path, clock: FakeClock) -> None:
    """A6: not even in free pages or the write-ahead log."""
    async with sqlite_store(database, clock) as store:
        thread_id = await secret(store, clock)
        newer = (said("hello"), said("bye"))
        await append_items(thread_id, newer, request_id="", fingerprint="", store=store)
        assert traces(database)

        rules = parse_rules("* max_items=1")
        await prune_threads(rules, now=clock.now(), after=None, store=store, dry_run=False)

        assert traces(database) == []
        assert [item.sequence for item in await store.items(thread_id, after=None, limit=9, descending=False)] == [3]


@pytest.mark.parametrize("rule", ["* max_age=1h", "* max_idle=1h"])
async def test_upkeep_leaves_no_trace_of_what_was_too_old(database: Path, clock: FakeClock, rule: str) -> None:
    async with sqlite_store(database, clock) as store:
        await secret(store, clock)
        upkeep = Upkeep(store, clock, CollectorRegistry(), Retention(rules=parse_rules(rule)))
        await upkeep.tidy()
        assert traces(database)
        clock.advance(3 * 3600)

        await upkeep.tidy()

        assert traces(database) == []


async def test_the_input_of_a_run_that_is_cancelled_unclaimed_leaves_no_trace_once_it_is_too_old(
    database: Path, clock: FakeClock
) -> None:
    async with sqlite_store(database, clock) as store:
        run = (await started(store, thread_key="k", text=f"{CANARY}-input")).run
        await cancel(run.id, store=store)
        upkeep = Upkeep(store, clock, CollectorRegistry(), Retention(event_lifetime=timedelta(hours=1)))
        await upkeep.tidy()
        assert traces(database)
        clock.advance(3601)

        await upkeep.tidy()

        assert traces(database) == []


async def test_a_compacted_log_leaves_no_trace_once_it_is_forgotten(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        run = await running(store, clock, "k")
        for number in range(50):
            run = await appended(store, run, f"{CANARY}-{number}".encode())
        await finished(store, run)
        upkeep = Upkeep(store, clock, CollectorRegistry(), Retention())
        await upkeep.tidy()
        with closing(connect(database)) as connection:
            (snapshot,) = connection.execute("SELECT batch FROM events").fetchone()
        assert traces(database, snapshot[:64])
        clock.advance(25 * 3600)

        await upkeep.tidy()

        assert traces(database, snapshot[:64]) == traces(database) == []


def rows(database: Path) -> tuple[int, int]:
    """How many rows all logs have, and how many bytes in them."""
    with closing(connect(database)) as connection:
        return tuple(connection.execute("SELECT count(*), sum(length(batch)) FROM events").fetchone())


async def test_a_log_of_many_writes_becomes_few_small_rows(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        run = await running(store, clock, "k")
        for number in range(400):
            run = await appended(store, run, f'{{"text_delta":{{"text":" word{number}"}}}}'.encode())
        await finished(store, run)
        before = rows(database)

        while await store.compact(limit=16):
            pass

        after = rows(database)
    assert (before[0], after[0]) == (400, 2)
    assert after[1] < before[1] / 5


@pytest.mark.parametrize(("count", "size"), [(90, 100_000), (12, 700_000), (2000, 10)])
async def test_a_very_long_log_becomes_rows_of_moderate_size(
    database: Path, clock: FakeClock, count: int, size: int
) -> None:
    async with sqlite_store(database, clock) as store:
        run = await running(store, clock, "k")
        writes = [writing(run, bytes([number % 256]) * size, first=number) for number in range(count)]
        for write in writes:
            run = await append_events(write, store=store)
        await finished(store, run, b"end")
        before = await whole_log(store, run.id)

        while await store.compact(limit=16):
            pass

        assert await whole_log(store, run.id) == before
    assert rows(database)[0] <= max(count * size / 100_000, 9)
    assert rows(database)[1] < count * size / 3


async def test_a_file_of_the_first_version_is_brought_up_to_date(
    database: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "0001_initial.sql").write_text((sqlite_file._MIGRATIONS / "0001_initial.sql").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "_MIGRATIONS", first)
        sqlite_file.prepare(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(EARLIER)

    async with sqlite_store(database, clock) as store:
        assert [event.body for event in (await store.log("run_1", after=-1)).events] == [b"a", b"bc"]
        thread = await store.thread("thread_1")
        assert (thread.first_item, thread.item_count, (await store.run("run_1")).first_sequence) == (0, 1, 0)
        assert await store.compact(limit=5) == 1
        assert [event.sequence for event in await whole_log(store, "run_1")] == [0, 1, 2]


EARLIER = """
INSERT INTO threads VALUES ('thread_1', '', 'k', '{}', 0, 0, 1, 1, '', 0);
INSERT INTO runs VALUES (
    'run_1', '', 'thread_1', 0, 'succeeded', 1, '', 0.0, 0.0, 0, 0, 3, 1, 0, 0, '', '',
    '{"state":"succeeded","reason":"stop","usage":null,"failure":null}', 0
);
INSERT INTO events VALUES ('run_1', 0, 0, 1, 0, x'0000000161', 1), ('run_1', 1, 1, 1, 0, x'000000026263', 1);
"""

QUERIES = [
    "SELECT * FROM runs WHERE finish_time IS NOT NULL AND first_event < next_event - 1 ORDER BY finish_time LIMIT 9",
    "SELECT run_id FROM runs WHERE finish_time IS NOT NULL AND compacted = 0 ORDER BY finish_time LIMIT 9",
    "DELETE FROM items WHERE thread_id = '' AND seq >= 1 AND seq < 9 AND role NOT IN ('system', 'developer')",
]


@pytest.mark.parametrize("query", QUERIES)
def test_what_upkeep_asks_is_found_by_an_index(database: Path, query: str) -> None:
    sqlite_file.prepare(database)
    with closing(connect(database)) as connection:
        plan = " ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))

    assert "SCAN runs" not in plan.replace("SCAN runs USING INDEX", "").replace("SCAN runs USING COVERING INDEX", "")
    assert "SCAN items" not in plan
    assert "TEMP B-TREE" not in plan
