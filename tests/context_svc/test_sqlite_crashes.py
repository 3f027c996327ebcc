"""A process that is killed while it compacts or prunes leaves the store whole."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from context_svc.adapters.sqlite_file import connect
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.append_items import append_items
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import prune_threads
from context_svc.domain.retention import parse_rules
from context_svc.domain.run import Event
from tests.context_svc.given import appended, finished, running, said, whole_log
from threadmesh.conversation import Role
from threadmesh.testing.clock import FakeClock

ROLES = (Role.USER, Role.ASSISTANT, Role.ASSISTANT)


def rows(database: Path) -> tuple[int, int]:
    """How many rows all logs have, and how many bytes in them."""
    with closing(connect(database)) as connection:
        return tuple(connection.execute("SELECT count(*), sum(length(batch)) FROM events").fetchone())


COMPACTOR = """
import asyncio, sys
from pathlib import Path
from context_svc.adapters.sqlite_store import sqlite_store
from threadmesh.testing.clock import FakeClock

async def compact():
    async with sqlite_store(Path(sys.argv[1]), FakeClock()) as store:
        while await store.compact(limit=1):
            print("step", flush=True)

asyncio.run(compact())
"""


@pytest.mark.parametrize("steps", [1, 5, 30])
async def test_a_crash_in_the_middle_of_compaction_leaves_every_log_whole(
    database: Path, clock: FakeClock, steps: int
) -> None:
    """E8, with kill -9 at any moment."""
    logs: dict[str, list[Event]] = {}
    async with sqlite_store(database, clock) as store:
        for _ in range(60):
            run = await running(store, clock)
            for number in range(20):
                run = await appended(store, run, f"{run.id}-{number}".encode())
            await finished(store, run)
            logs[run.id] = await whole_log(store, run.id)
    kill_after(steps, database)

    async with sqlite_store(database, clock) as store:
        left = rows(database)[0]
        assert {run_id: await whole_log(store, run_id) for run_id in logs} == logs
        while await store.compact(limit=16):
            pass
        assert {run_id: await whole_log(store, run_id) for run_id in logs} == logs

    assert 60 < left < 60 * 20
    assert rows(database)[0] == 60


def kill_after(steps: int, database: Path, *, program: str = COMPACTOR) -> None:
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as compactor:
        assert compactor.stdout is not None
        for _ in range(steps):
            compactor.stdout.readline()
        compactor.send_signal(signal.SIGKILL)
        compactor.communicate(timeout=30)


PRUNER = """
import asyncio, sys
from pathlib import Path
from context_svc.adapters.sqlite_store import SqliteStore, sqlite_store
from context_svc.domain.retain import prune_threads
from context_svc.domain.retention import parse_rules
from threadmesh.testing.clock import FakeClock

async def prune():
    clock = FakeClock()
    async with sqlite_store(Path(sys.argv[1]), clock) as store:
        change = store.change
        async def told(scope, decide):
            outcome = await change(scope, decide)
            print("step", flush=True)
            return outcome
        store.change = told
        rules = parse_rules("k max_items=2")
        await prune_threads(rules, now=clock.now(), after=None, store=store, dry_run=False)

asyncio.run(prune())
"""


@pytest.mark.parametrize("steps", [1, 4])
async def test_a_crash_in_the_middle_of_pruning_leaves_whole_turns(
    database: Path, clock: FakeClock, steps: int
) -> None:
    async with sqlite_store(database, clock) as store:
        thread = (await resolve("k", metadata={}, store=store)).thread
        for _ in range(6):
            turns = tuple(said("q" if place % 3 == 0 else "a", ROLES[place % 3]) for place in range(999))
            await append_items(thread.id, turns, request_id="", fingerprint="", store=store)
    kill_after(steps, database, program=PRUNER)

    async with sqlite_store(database, clock) as store:
        left = await store.items(thread.id, after=None, limit=10_000, descending=False)
        assert (await store.thread(thread.id)).first_item == left[0].sequence > 0
        assert [item.message.text for item in left] == ["q", "a", "a"] * (len(left) // 3)
        await prune_threads(parse_rules("k max_items=3"), now=clock.now(), after=None, store=store, dry_run=False)
        left = await store.items(thread.id, after=None, limit=10_000, descending=False)

    assert [item.sequence for item in left] == [5991, 5992, 5993]
