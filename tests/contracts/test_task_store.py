"""What every store of tasks promises."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.context_svc.given import postgres_server
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, Failure, Media, Text, ToolCall
from threadmesh.errors import ToolFailed
from tools_svc.adapters.memory_tasks import MemoryTasks
from tools_svc.adapters.sql_tasks import sql_tasks
from tools_svc.domain.ports import TaskStore
from tools_svc.domain.task import Task, TaskCursor, TaskFilter, TaskKey, TaskState
from tools_svc.domain.tool import Effect

STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[TaskStore]]] = {
    "memory": lambda _: nullcontext(MemoryTasks()),
    "sqlite": lambda directory: sql_tasks(f"sqlite:{directory / 'tools' / 'tasks.db'}"),
    "postgres": lambda _: sql_tasks(postgres_server().url()),
}
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
EVER = TaskFilter()


def task(call_id: str = "c", *, run_id: str = "r", age: int = 0, arguments: str = '{"é":"\\u0000"}') -> Task:
    """Make a task that is `age` seconds old."""
    created = NOW - timedelta(seconds=age)
    return Task(
        call=ToolCall(id=call_id, name="s__t", arguments_json=arguments),
        run_id=run_id,
        epoch=2**40,
        thread_id="th",
        request_id="re",
        server="s",
        definition_hash="h",
        idempotency_key="k",
        effect=Effect.KEYED,
        created_at=created,
        deadline=created + timedelta(hours=1),
        due_at=created,
        verifiable=True,
    )


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TaskStore]:
    """Every store of tasks in turn, empty."""
    async with STORES[request.param](tmp_path) as opened:
        yield opened


async def test_what_is_added_is_given_back_as_it_was(store: TaskStore) -> None:
    added = await store.add(task())

    assert added == task() == await store.get(task().key)
    assert await store.get(TaskKey(run_id="r", call_id="other")) is None


async def test_adding_twice_keeps_the_first(store: TaskStore) -> None:
    await store.add(task())

    assert await store.add(task(arguments="{}")) == task()


async def test_every_change_is_kept_and_numbered(store: TaskStore) -> None:
    added = await store.add(task())
    finished = CallFinished(
        outcome=CallOutcome.FAILED,
        name="n",
        parts=(Text(text="é\x00"), Media(mime_type="image/png", data=b"\x00\xff")),
        structured_json="{}",
        failure=Failure.of(ToolFailed(why="because")),
        seconds=1.5,
    )

    claimed = await store.put(added.claimed("me", NOW, until=NOW + timedelta(seconds=5)))
    assert claimed is not None
    noted = await store.put(
        replace(
            claimed,
            progress=CallProgress(progress=1, total=2, message="m"),
            attempt=3,
            cancelled=True,
            sent=True,
            handle="h",
        )
    )
    assert noted is not None
    ended = await store.put(noted.ended(finished, NOW + timedelta(seconds=9)))

    assert ended is not None
    assert ended == await store.get(added.key)
    assert (claimed.version, noted.version, ended.version) == (2, 3, 4)
    assert (ended.owner, ended.claims, ended.sent, ended.attempt, ended.cancelled) == ("me", 1, True, 3, True)
    assert ended.handle == "h"
    assert (ended.progress, ended.finished) == (CallProgress(progress=1, total=2, message="m"), finished)


async def test_a_task_is_given_only_if_it_is_newer(store: TaskStore) -> None:
    added = await store.add(task())

    assert await store.get(added.key, after=1) is None
    await store.put(added.claimed("me", NOW, until=NOW))
    changed = await store.get(added.key, after=1)
    assert changed is not None
    assert changed.version == 2


async def test_of_two_who_saw_the_same_one_changes_it(store: TaskStore) -> None:
    added = await store.add(task())

    claims = await asyncio.gather(*(store.put(added.claimed(f"{each}", NOW, until=NOW)) for each in range(8)))

    won = [claim for claim in claims if claim is not None]
    assert len(won) == 1
    assert await store.get(added.key) == won[0]


async def test_a_change_of_what_is_not_there_changes_nothing(store: TaskStore) -> None:
    assert await store.put(task()) is None
    assert await store.get(task().key) is None


async def test_due_tasks_come_in_the_order_in_which_they_were_due(store: TaskStore) -> None:
    for call_id, age in (("b", 2), ("a", 3), ("c", 1), ("later", -1)):
        await store.add(task(call_id, age=age))

    assert [each.call.id for each in await store.due(NOW, limit=9)] == ["a", "b", "c"]
    assert [each.call.id for each in await store.due(NOW, limit=2)] == ["a", "b"]


async def test_pages_go_from_the_newest_to_the_oldest_and_miss_nothing(store: TaskStore) -> None:
    for name in ("a", "B", "ä", "z"):
        await store.add(task(name, age=5))
    for age in (1, 9):
        await store.add(task(f"{age}", age=age))

    seen: list[Task] = []
    while page := await store.page(
        EVER, after=TaskCursor(created_at=seen[-1].created_at, key=seen[-1].key) if seen else None, limit=2
    ):
        seen += page

    assert [each.call.id for each in seen] == ["1", "ä", "z", "a", "B", "9"]


async def test_a_page_holds_what_is_wanted(store: TaskStore) -> None:
    first = await store.add(task("first"))
    await store.add(task("second", run_id="other"))
    await store.put(first.claimed("me", NOW, until=NOW))

    async def ids(wanted: TaskFilter) -> list[str]:
        return [each.call.id for each in await store.page(wanted, after=None, limit=9)]

    assert await ids(EVER) == ["first", "second"]
    assert await ids(TaskFilter(run_id="other")) == ["second"]
    assert await ids(TaskFilter(states=frozenset({TaskState.CLAIMED}))) == ["first"]
    assert await ids(TaskFilter(states=frozenset({TaskState.CLAIMED}), run_id="other")) == []


async def test_only_the_version_that_was_seen_is_removed(store: TaskStore) -> None:
    added = await store.add(task())
    changed = await store.put(added.claimed("me", NOW, until=NOW))
    assert changed is not None

    await store.remove(added)
    assert await store.get(added.key) == changed
    await store.remove(changed)
    assert await store.get(added.key) is None


async def test_tasks_are_counted_by_state(store: TaskStore) -> None:
    first = await store.add(task("first"))
    await store.add(task("second"))
    await store.put(first.claimed("me", NOW, until=NOW))

    assert {state: count for state, count in (await store.counts()).items() if count} == {
        TaskState.CLAIMED: 1,
        TaskState.QUEUED: 1,
    }
