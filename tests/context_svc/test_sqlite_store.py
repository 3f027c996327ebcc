"""What SQLite alone can get wrong: files, restarts, crashes, locks, full disks."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from context_svc.adapters.file_systems import vanishes
from context_svc.adapters.sqlite_file import connect, prepare
from context_svc.adapters.sqlite_store import SqliteStore, sqlite_store
from context_svc.adapters.sqlite_threads import Writer
from context_svc.domain.action import Action
from context_svc.domain.append_events import append_to_runs
from context_svc.domain.append_items import append_items
from context_svc.domain.cancel import cancel
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.delete import delete
from context_svc.domain.item import numbered
from context_svc.domain.require_action import require_action
from context_svc.domain.resolve import resolve
from context_svc.domain.run import Run
from context_svc.domain.take_over import take_over
from tests.context_svc.given import (
    appended,
    claimed,
    finished,
    queued,
    running,
    said,
    started,
    texts,
    whole_log,
    writing,
)
from threadmesh.errors import StaleEpoch, StoreFull, StoreUnavailable, ThreadBusy, ThreadDamaged
from threadmesh.settings import ConfigurationError
from threadmesh.testing.clock import FakeClock

CANARY = "canary-7c1f2a"


async def test_everything_is_there_after_a_restart(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        run = await appended(store, await running(store, clock, "k"), b"a", b"b")
        waiting = await queued(store, "k")
    async with sqlite_store(database, clock) as store:
        run = await finished(store, await store.run(run.id), items=(said("answer"),))

        assert [event.sequence for event in await whole_log(store, run.id)] == [0, 1, 2]
        assert (await claimed(store, clock, waiting)).first_item == 2
        assert await texts(store, run.thread_id) == ["hello", "answer", "hello"]


async def test_a_restart_measures_leases_by_the_clock_of_its_own_boot(database: Path) -> None:
    before, after = FakeClock(), FakeClock()
    before.advance(1_000_000)
    async with sqlite_store(database, before) as store:
        run = await claimed(store, before, await queued(store, timeout=60.0))
    after.advance(1_000_010)
    rebooted = FakeClock(now=after.now())
    async with sqlite_store(database, rebooted) as store:
        with pytest.raises(ThreadBusy):
            await claimed(store, rebooted, run, owner="facade-2")
        rebooted.advance(5)
        taken = await claimed(store, rebooted, run, owner="facade-2")

    assert (taken.epoch, taken.expires) == (2, 50.0)
    assert taken.deadline == run.deadline


async def test_a_restart_does_not_shorten_what_a_person_has_time_for(database: Path) -> None:
    before = FakeClock()
    before.advance(1_000_000)
    async with sqlite_store(database, before) as store:
        run = await running(store, before)
        action = Action(call_id="c")
        await require_action(writing(run, b"a"), [action], seconds=100.0, store=store)
    rebooted = FakeClock(now=before.now())
    rebooted.advance(90)
    async with sqlite_store(database, rebooted) as store:
        early = await take_over(owner="facade-2", patience=0, store=store, clock=rebooted)
        rebooted.advance(10)
        late = await take_over(owner="facade-2", patience=0, store=store, clock=rebooted)

    assert early is None
    assert late is not None
    assert late.id == run.id


async def test_two_processes_can_share_a_file(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as one, sqlite_store(database, clock) as other:
        runs = await asyncio.gather(
            *(started(store, thread_key="k", key="a") for store in (one, other) for _ in range(10))
        )

    assert len({each.run.id for each in runs}) == 1


async def test_a_writer_is_fenced_by_a_claim_of_another_process(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as one, sqlite_store(database, clock) as other:
        run = await appended(one, await running(one, clock, "k"), b"a")
        clock.advance(5)
        taken = await claimed(other, clock, run, owner="facade-2")

        with pytest.raises(StaleEpoch):
            await appended(one, run, b"late")
        await appended(other, taken, b"b")

        assert (await one.run(run.id)).next_sequence == 2
        assert (await appended(one, await one.run(run.id), b"c")).next_sequence == 3


WRITER = """
import asyncio, sys
from pathlib import Path
from context_svc.adapters.sqlite_store import sqlite_store
from tests.context_svc.given import appended, running
from threadmesh.testing.clock import FakeClock

async def write():
    clock = FakeClock()
    async with sqlite_store(Path(sys.argv[1]), clock) as store:
        run = await running(store, clock, "k")
        print(run.id, flush=True)
        while True:
            run = await appended(store, run, str(run.next_sequence).encode())
            print(run.next_sequence, flush=True)

asyncio.run(write())
"""


@pytest.mark.parametrize("acknowledged", [1, 50, 200])
async def test_no_acknowledged_event_is_lost_when_the_process_is_killed(
    database: Path, clock: FakeClock, acknowledged: int
) -> None:
    """A1, with kill -9 at any moment."""
    with killed_after(acknowledged, database) as lines:
        run_id, acks = lines[0], [int(line) for line in lines[1:]]

    async with sqlite_store(database, clock) as store:
        events = (await store.log(run_id, after=-1)).events
        run = await store.run(run_id)

    assert len(events) >= acks[-1] >= acknowledged
    assert [event.body for event in events] == [str(number).encode() for number in range(len(events))]
    assert run.next_sequence == len(events)


@contextmanager
def killed_after(acknowledged: int, database: Path) -> Iterator[list[str]]:
    """Run the writer until it has acknowledged so many events, kill it, and give all it said."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(database)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline().strip() for _ in range(acknowledged + 1)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=30)
    complete = rest.rpartition("\n")[0].split()
    yield [*lines, *complete]


async def test_a_file_of_a_later_version_is_refused(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock):
        pass
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO schema_version VALUES (999)")

    with pytest.raises(ConfigurationError, match="later version"):
        async with sqlite_store(database, clock):
            pass


def test_a_file_that_is_no_database_is_refused(database: Path) -> None:
    content = b"this is not a database, whatever its name says" * 100
    database.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"context\.db"):
        prepare(database)

    assert database.read_bytes() == content


async def test_a_path_that_cannot_be_made_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="CONTEXT_STORE"):
        async with sqlite_store(tmp_path / "file" / "context.db", clock):
            pass


async def test_only_the_owner_may_read_the_file(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        await queued(store)

        assert {each.stat().st_mode & 0o077 for each in database.parent.iterdir()} == {0}


async def test_commits_are_flushed_to_the_disk(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock):
        with closing(connect(database)) as connection:
            pragmas = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in (
                    "journal_mode",
                    "synchronous",
                    "foreign_keys",
                    "secure_delete",
                    "busy_timeout",
                    "auto_vacuum",
                )
            }

    assert pragmas == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 1000,
        "auto_vacuum": 2,
    }  # fmt: skip


async def test_deleting_a_thread_leaves_no_byte_of_it_in_the_files(database: Path, clock: FakeClock) -> None:
    """A6: not even in free pages or the write-ahead log."""
    async with sqlite_store(database, clock) as store:
        kept = await running(store, clock, "kept")
        run = (await started(store, thread_key=f"{CANARY}-key", text=f"{CANARY}-input", key=f"{CANARY}-idem")).run
        run = await claimed(store, clock, run, owner=f"{CANARY}-owner")
        await cancel((await started(store, thread_key=f"{CANARY}-key", text=f"{CANARY}-waiting")).run.id, store=store)
        run = await appended(store, run, f"{CANARY}-event".encode())
        await finished(store, run, items=(said(f"{CANARY}-item " * 3000),))
        assert any(CANARY.encode() in path.read_bytes() for path in database.parent.iterdir())

        await delete(run.thread_id, store=store)

        assert not [path.name for path in database.parent.iterdir() if CANARY.encode() in path.read_bytes()]
        assert await texts(store, kept.thread_id) == ["hello"]


async def test_a_locked_file_is_unavailable_and_then_available_again(database: Path, clock: FakeClock) -> None:
    """A7: nobody waits longer than a second, and nothing has to be restarted."""
    async with sqlite_store(database, clock) as store:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable) as caught:
                await queued(store, "k")
            with pytest.raises(StoreUnavailable):
                await store.ping()
            other.execute("ROLLBACK")

        assert caught.value.facts == {"cause": "SQLITE_BUSY"}
        assert (await queued(store, "k")).number == 0


async def test_a_full_disk_refuses_writes_while_reading_goes_on(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        run = await running(store, clock, "k")
        await limit_pages(store, 1)
        with pytest.raises(StoreFull):
            await appended(store, run, b"x" * 1_000_000)

        assert (await store.run(run.id)).next_sequence == 0
        await limit_pages(store, 1_000_000)
        assert (await appended(store, run, b"x" * 1_000_000)).next_sequence == 1


async def test_a_group_of_writes_that_does_not_fit_is_as_if_it_had_never_been(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        small, large = await running(store, clock, "small"), await running(store, clock, "large")
        writes = [writing(small, b"x"), writing(large, b"x" * 1_000_000)]
        await limit_pages(store, 1)
        with pytest.raises(StoreFull):
            await append_to_runs(writes, store=store)
        await limit_pages(store, 1_000_000)

        assert [run.next_sequence for run in await append_to_runs(writes, store=store) if isinstance(run, Run)] == [
            1,
            1,
        ]
        assert [event.body for event in (await store.log(small.id, after=-1)).events] == [b"x"]


async def limit_pages(store: SqliteStore, pages: int) -> None:
    """Let the database grow to so many pages only, but never shrink it."""
    await store._writer.maintain(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_a_job_that_fails_does_not_harm_those_that_share_its_commit(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        thread = (await resolve("k", metadata={}, store=store)).thread

        def broken(state: State) -> tuple[Change, None]:
            """Take the same number for two items."""
            items = numbered((said("x"),), thread_id=thread.id, first=0, now=clock.now()) * 2
            return Change(thread=replace(thread, item_count=9), items=items), None

        results = await asyncio.gather(
            append_items(thread.id, (said("a"),), request_id="", fingerprint="", store=store),
            store.change(Scope(thread_id=thread.id), broken),
            append_items(thread.id, (said("b"),), request_id="", fingerprint="", store=store),
            return_exceptions=True,
        )

        assert isinstance(results[1], Exception)
        assert await texts(store, thread.id) == ["a", "b"]
        assert (await store.thread(thread.id)).item_count == 2


async def test_a_job_nobody_waits_for_any_more_is_not_begun(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock):
        writer = Writer(database)
        done: list[str] = []
        entered, leave = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(_: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(timeout=30)

        first = asyncio.create_task(writer.write(slow))
        await entered.wait()
        second = asyncio.create_task(writer.write(lambda _: done.append("second")))
        third = asyncio.create_task(writer.write(lambda _: done.append("third")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        leave.set()
        await asyncio.gather(first, third)
        await writer.close()

    assert done == ["third"]


async def test_a_damaged_item_is_noticed_and_other_threads_are_not_harmed(database: Path, clock: FakeClock) -> None:
    async with sqlite_store(database, clock) as store:
        damaged, sound = await running(store, clock, "damaged"), await running(store, clock, "sound")
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "UPDATE items SET body = replace(body, 'hello', 'jello') WHERE thread_id = ?", (damaged.thread_id,)
            )

        with pytest.raises(ThreadDamaged) as caught:
            await texts(store, damaged.thread_id)
        assert caught.value.facts == {"thread_id": damaged.thread_id, "sequence": "0"}
        assert await texts(store, sound.thread_id) == ["hello"]


@pytest.mark.skipif(not vanishes(Path("/dev/shm")), reason="there is no file system in main memory")
async def test_a_file_in_main_memory_is_refused_unless_that_is_accepted(clock: FakeClock) -> None:
    with TemporaryDirectory(dir="/dev/shm") as directory:  # that is the point
        path = Path(directory) / "context.db"
        with pytest.raises(ConfigurationError, match=r"lies in main memory.*CONTEXT_ALLOW_UNSAFE_STORE"):
            async with sqlite_store(path, clock, allow_unsafe=False):
                pass
        assert not path.exists()
        async with sqlite_store(path, clock, allow_unsafe=True) as store:
            await store.ping()
