"""A long thread is worked with in pieces on every store: nothing reads it as a whole, nor more of it when it is longer.

What is counted is what is read, not time. The thread has `LONG_THREAD_ITEMS` items; `make long-threads` tries 100,000.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from context_svc.adapters import sqlite_threads
from context_svc.adapters.measured_store import MeasuredStore, StoreMetrics
from context_svc.adapters.sqlite_file import connect
from context_svc.domain.append_items import append_items
from context_svc.domain.delete import delete
from context_svc.domain.delete_item import delete_item
from context_svc.domain.item import Item
from context_svc.domain.ports import Store
from context_svc.domain.prune_thread import prune_thread
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.retention import Rule
from context_svc.domain.run import Run
from tests.context_svc.given import claimed, finished, said, sqlite, started
from threadmesh.conversation import Role
from threadmesh.errors import ThreadNotFound
from threadmesh.testing.clock import FakeClock

ITEMS = int(os.environ.get("LONG_THREAD_ITEMS", "3000"))
SHORT = 300
CHUNK = 500
KEPT = 100
BUDGET = 4_000
TOKENS = 40
"""Of an item."""


class Counted(MeasuredStore):
    """Notes how many items each reading gives."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, StoreMetrics(CollectorRegistry(), kind="any"))
        self.read: list[int] = []

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        found = await super().items(thread_id, after=after, limit=limit, descending=descending)
        self.read.append(len(found))
        return found

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        found = await super().instructions(thread_id)
        self.read.append(len(found))
        return found

    def taken(self) -> list[int]:
        """Give the readings since the last time."""
        read, self.read = self.read, []
        return read


async def filled(store: Store, *, items: int) -> str:
    """Make a thread of an instruction and turns of two items; gives its id."""
    thread = (await resolve("k", metadata={}, store=store)).thread
    roles = [Role.SYSTEM, *([Role.USER, Role.ASSISTANT] * (items // 2))]
    for first in range(0, len(roles), CHUNK):
        spoken = [said("word " * 20, role, tokens=TOKENS) for role in roles[first : first + CHUNK]]
        await append_items(thread.id, tuple(spoken), request_id="", fingerprint="", store=store)
    return thread.id


async def answered(store: Store, clock: FakeClock) -> Run:
    """Answer one more request in the thread, with its window."""
    run = await claimed(store, clock, (await started(store, thread_key="k")).run)
    window = await read_window(run.thread_id, budget=BUDGET, run_id=run.id, threads=store, runs=store)
    assert 0.9 * BUDGET < window.tokens <= BUDGET
    return await finished(store, run, b"event", items=(said("bye", Role.ASSISTANT),))


async def test_a_long_thread_is_worked_with_in_pieces(store: Store, clock: FakeClock) -> None:
    counted = Counted(store)
    thread_id = await filled(counted, items=ITEMS)
    length = ITEMS + 1
    counted.taken()

    await answered(counted, clock)
    assert sum(counted.taken()) < 3 * BUDGET / TOKENS
    await append_items(thread_id, (said("one more"),), request_id="", fingerprint="", store=counted)
    await delete_item(thread_id, length // 2, store=counted)
    assert sum(counted.taken()) <= 2
    found, page = 0, await counted.items(thread_id, after=None, limit=CHUNK, descending=False)
    while page:
        found += len(page)
        page = await counted.items(thread_id, after=page[-1].sequence, limit=CHUNK, descending=False)
    assert (found, max(counted.taken())) == (length + 3 - 1, CHUNK)
    rule = Rule(pattern="*", max_items=KEPT)
    pruned = await prune_thread(thread_id, rule, now=clock.now(), store=counted, dry_run=False)
    assert 0 <= pruned - (length - 1 + 2 - KEPT) < 3
    assert max(counted.taken()) <= CHUNK
    before = await counted.stored("")
    await delete(thread_id, store=counted)

    assert counted.taken() == []
    assert (await counted.stored(""), before > KEPT * 100) == (0, True)
    with pytest.raises(ThreadNotFound):
        await store.thread(thread_id)


@asynccontextmanager
async def of_length(
    items: int, directory: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Store, str, Callable[[], int]]]:
    """Open a file with a thread of so many items; gives what tells SQLite's work since the last time, in steps."""
    steps = 0

    def one_more() -> None:
        nonlocal steps
        steps += 1

    def observed(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_progress_handler(one_more, 10)
        return connection

    def taken() -> int:
        nonlocal steps
        done, steps = steps, 0
        return done

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_threads, "connect", observed)
        async with sqlite(directory, clock) as store:
            thread_id = await filled(store, items=items)
            taken()
            yield store, thread_id, taken


async def test_sqlite_does_no_more_in_a_longer_thread(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: dict[int, dict[str, int]] = {}
    for items in (SHORT, ITEMS):
        async with of_length(items, tmp_path / str(items), clock, monkeypatch) as (store, thread_id, taken):
            done = work[items] = {}
            await answered(store, clock)
            done["answer"] = taken()
            await append_items(thread_id, (said("more"),), request_id="", fingerprint="", store=store)
            done["append"] = taken()
            await store.items(thread_id, after=items // 2, limit=50, descending=False)
            done["page"] = taken()
            await delete_item(thread_id, items // 2, store=store)
            done["delete item"] = taken()
            await store.stored("")
            done["stored"] = taken()

    assert all(0 < steps < 1.5 * work[SHORT][name] + 20 for name, steps in work[ITEMS].items()), work
