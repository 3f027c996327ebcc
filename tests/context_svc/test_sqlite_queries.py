"""Which way SQLite takes to what is asked often, or of large tables."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from context_svc.adapters import sizes, statements
from context_svc.adapters.sqlite_changes import STORED, stored_by, write_change
from context_svc.adapters.sqlite_file import connect, prepare
from context_svc.adapters.sqlite_store import INSTRUCTIONS, list_runs, list_threads
from context_svc.domain.change import Change
from context_svc.domain.run import Batch, Run, RunState
from context_svc.domain.thread import new_thread

QUERIES = [
    "SELECT * FROM items WHERE thread_id = '' AND seq < 9 ORDER BY seq DESC LIMIT 100",
    "SELECT * FROM events WHERE run_id = '' AND last_seq > 9 ORDER BY last_seq",
    "SELECT * FROM runs WHERE thread_id = '' AND finish_time IS NULL ORDER BY number",
    "SELECT * FROM threads WHERE key = '' AND key <> '' AND tenant = ''",
    "SELECT * FROM idem WHERE tenant = '' AND key = ''",
]


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_asked_often_is_found_by_an_index(database: Path, query: str) -> None:
    prepare(database)
    with closing(connect(database)) as connection:
        plan = " ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))

    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("wanted", "found_by"),
    [
        ({"thread_id": ""}, "(thread_id=?)"),
        ({"tenant": ""}, "runs_by_creation (tenant=? AND (create_time,run_id)<(?,?))"),
        ({}, "runs_of_all ((create_time,run_id)<(?,?))"),
    ],
)
def test_runs_are_listed_without_reading_those_of_others(database: Path, wanted: dict[str, str], found_by: str) -> None:
    whose, values = statements.narrowed("?", **wanted)
    prepare(database)
    with closing(connect(database)) as connection:
        asked = connection.execute(f"EXPLAIN QUERY PLAN {list_runs(whose, 1)}", (*values, "queued", 0, "", 1))
        plan = " ".join(row["detail"] for row in asked)

    assert found_by in plan


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("wanted", "index"), [({"tenant": ""}, "threads_by_use"), ({}, "threads_listed")])
def test_threads_are_listed_in_both_orders_without_sorting(
    database: Path, wanted: dict[str, str], index: str, ascending: bool
) -> None:
    whose, values = statements.narrowed("?", **wanted)
    prepare(database)
    with closing(connect(database)) as connection:
        statement = list_threads(whose, ascending=ascending)
        asked = connection.execute(f"EXPLAIN QUERY PLAN {statement}", (*values, 1, "k", 0, "", 1))
        plan = " ".join(row["detail"] for row in asked)

    assert f"SEARCH threads USING INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_input_is_found_by_its_run_and_what_never_entered_among_the_little_that_waits(database: Path) -> None:
    prepare(database)
    with closing(connect(database)) as connection:
        of_run = connection.execute(f"EXPLAIN QUERY PLAN {statements.list_input('?')}", ("",))
        ended = connection.execute(f"EXPLAIN QUERY PLAN {statements.ended_inputs('?')}", (0, 1))
        plans = [" ".join(row["detail"] for row in asked) for asked in (of_run, ended)]

    assert "SCAN" not in plans[0]
    assert "SCAN runs" not in plans[1]


def test_instructions_are_found_without_reading_how_often_they_were_repeated(database: Path) -> None:
    prepare(database)
    with closing(connect(database)) as connection:
        plan = " ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {INSTRUCTIONS}", ("",)))

    assert "SCAN items" not in plan
    assert "items_instructions (thread_id=? AND digest>?)" in plan
    assert "items_instructions (thread_id=? AND digest=?)" in plan


def test_what_a_tenant_has_stored_is_summed_up_without_reading_what_it_is(database: Path) -> None:
    prepare(database)
    with closing(connect(database)) as connection:
        asked = connection.execute(f"EXPLAIN QUERY PLAN {STORED}", ("", ""))
        plan = " ".join(row["detail"] for row in asked)

    assert "SEARCH stored USING PRIMARY KEY (tenant=?)" in plan
    assert "SEARCH runs USING INDEX runs_open_of_tenant (tenant=?)" in plan


def test_writes_of_events_and_mere_use_cost_no_statement_for_being_counted(database: Path) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    thread = new_thread(now)
    run = Run(
        id="r", thread_id=thread.id, number=0, state=RunState.RUNNING, create_time=now, deadline=now,
        expires=0.0, lease_until=0.0,
    )  # fmt: skip
    events = Batch(run_id="r", epoch=1, first_sequence=0, create_time=now, bodies=(b"one",))
    prepare(database)
    with closing(connect(database)) as connection:
        write_change(connection, Change(thread=thread, runs=(run,)))
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        write_change(connection, Change(runs=(run,), events=events))
        write_change(connection, Change(thread=replace(thread, run_count=1), runs=(run,)), before=thread)
        connection.set_trace_callback(None)
        counted = stored_by(connection, "")

    assert [" ".join(each.split()[:3]) for each in statements] == [
        "UPDATE runs SET",
        "INSERT INTO events",
        "INSERT INTO threads",
        "UPDATE runs SET",
    ]
    assert counted == sizes.thread_bytes(thread) + sizes.run_bytes(run) + sizes.batch_bytes(events)
