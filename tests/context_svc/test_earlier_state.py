"""What released versions have written is read without loss. What lies in `fixtures/state` is never written again."""

import json
import sqlite3
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from context_svc.adapters.postgres_store import postgres_store
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.call import CallState
from context_svc.domain.read_window import read_window
from context_svc.domain.run import RunState
from facade.domain.parameters import TurnParameters
from tests.context_svc.given import claimed, finished, postgres_server, stored_exactly, texts, whole_log
from threadmesh.conversation import CallOutcome, ToolChoiceMode
from threadmesh.testing.clock import FakeClock

STATES = sorted((Path(__file__).parents[1] / "fixtures" / "state").iterdir())


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
async def test_a_store_of_an_earlier_version_is_read_and_goes_on(state: Path, tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "context.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((state / "context.sql").read_text())
    async with sqlite_store(path, clock) as store:
        (thread,) = await store.threads(key_prefix="discord:", after=None, limit=10)
        runs = await store.runs(thread_id=thread.id, states=(), after=None, limit=10)
        first, second, third = sorted(runs, key=lambda run: run.number)
        said = await texts(store, thread.id)
        log = [event.body for event in await whole_log(store, first.id)]
        (call,) = await store.calls(first.id)
        await finished(store, second, b"rest")
        with_input = await store.stored("")
        next_one = await claimed(store, clock, third)
        stored = await stored_exactly(store, "")

    assert stored == with_input
    assert said == ["What time is it? ünï 🦉", "", "noon", "It is noon.", "hello"]
    assert log[:4] == [b"one", b"two", b"three", b"four"]
    assert first.state is RunState.SUCCEEDED
    assert (second.state, second.next_sequence) == (RunState.RUNNING, 1)
    assert call.state is CallState.FINISHED
    assert call.finished is not None
    assert call.finished.outcome is CallOutcome.SUCCEEDED
    assert next_one.id == third.id


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
async def test_the_newest_summary_of_an_earlier_version_is_found(state: Path, tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "context.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((state / "context.sql").read_text())
        connection.executescript("UPDATE items SET kind = 'summary' WHERE seq IN (1, 3)")
    async with sqlite_store(path, clock) as store:
        (thread,) = await store.threads(key_prefix="discord:", after=None, limit=10)

    assert (thread.summary, thread.pinned) == (3, ())


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
async def test_a_database_of_an_earlier_version_is_read_and_goes_on(state: Path, clock: FakeClock) -> None:
    server = postgres_server()
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS threadmesh CASCADE")
        connection.execute((state / "postgres.sql").read_text())
    async with postgres_store(server.url("threadmesh")) as store:
        (thread,) = await store.threads(key_prefix="discord:", after=None, limit=10)
        (notes,) = await store.threads(key_prefix="me:", after=None, limit=10)
        runs = await store.runs(thread_id=thread.id, states=(), after=None, limit=10)
        first, second, third = sorted(runs, key=attrgetter("number"))
        said = await texts(store, thread.id)
        log = [event.body for event in await whole_log(store, first.id)]
        window = await read_window(notes.id, budget=0, run_id="", threads=store, runs=store)
        await finished(store, second, b"rest")
        with_input = await store.stored("")
        next_one = await claimed(store, clock, third)
        stored = await stored_exactly(store, "")

    assert stored == with_input
    assert said == ["What time is it? ünï 🦉", "", "noon", "It is noon.", "hello"]
    assert log[:4] == [b"one", b"two", b"three", b"four"]
    assert (notes.summary, window.summary) == (1, 1)
    assert next_one.id == third.id


def _holds(whole: Any, part: Any) -> bool:
    """Whether everything that was written before stands there still; there may be more."""
    if isinstance(part, dict):
        return all(name in whole and _holds(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_runs_parameters_of_an_earlier_version_are_read_and_written_alike(state: Path) -> None:
    text = (state / "parameters.json").read_text().strip()
    parameters = TurnParameters.from_json(text)
    known = json.loads(text)
    known.pop("owner", None)

    assert _holds(json.loads(parameters.to_json()), known)
    assert parameters.tool_choice is not None
    assert parameters.tool_choice.mode is ToolChoiceMode.REQUIRED
    assert TurnParameters.from_json(parameters.to_json()) == parameters
