"""Which way SQLite takes to what is asked often, or of large tables."""

from contextlib import closing
from pathlib import Path

import pytest

from context_svc.adapters import statements
from context_svc.adapters.sqlite_file import connect, prepare
from context_svc.adapters.sqlite_store import INSTRUCTIONS, list_runs, list_threads

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


def test_instructions_are_found_without_reading_how_often_they_were_repeated(database: Path) -> None:
    prepare(database)
    with closing(connect(database)) as connection:
        plan = " ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {INSTRUCTIONS}", ("",)))

    assert "SCAN items" not in plan
    assert "items_instructions (thread_id=? AND digest>?)" in plan
    assert "items_instructions (thread_id=? AND digest=?)" in plan
