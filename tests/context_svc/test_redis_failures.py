"""A Redis store whose server dies, hangs, forgets, fills up or cannot be trusted."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from context_svc.adapters.redis_store import RedisStore, redis_store
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.resolve import resolve
from context_svc.domain.run import Run
from context_svc.domain.watch import watch
from tests.context_svc.given import GivenTime, appended, queued, running
from tests.servers.cut_line import CutLine
from tests.servers.valkey import ValkeyServer
from threadmesh.errors import StoreFull, StoreGenerationChanged, StoreUnavailable
from threadmesh.testing.clock import FakeClock

pytestmark = pytest.mark.alone


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as started_server:
        yield started_server


@pytest.fixture
async def store(server: ValkeyServer, clock: FakeClock) -> AsyncIterator[RedisStore]:
    async with redis_store(server.url, GivenTime(clock)) as opened:
        yield opened


async def causes_until_back(store: RedisStore) -> set[str]:
    """Give why the store took no writes until it takes them again."""
    causes: set[str] = set()
    async with asyncio.timeout(60):
        while True:
            try:
                await store.ping()
            except StoreUnavailable as error:
                causes.add(error.facts["cause"])
                await asyncio.sleep(0.01)  # between questions to a server that refuses them
            else:
                return causes


async def back(store: RedisStore) -> float:
    """Give after how many seconds the store takes writes again."""
    began = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            try:
                await store.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)  # between questions to a server that refuses connections
            else:
                return time.monotonic() - began


# Death


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_no_acknowledged_event_is_lost_when_the_server_is_killed(clock: FakeClock, fsync: str) -> None:
    """A1, with kill -9 at any moment; what was not acknowledged may be there or not, but never twice."""
    with ValkeyServer(appendfsync=fsync) as server:
        async with redis_store(server.url, GivenTime(clock)) as store:
            runs = [await running(store, clock, f"k{number}") for number in range(5)]
            ledger = Ledger()
            async with asyncio.TaskGroup() as writers:
                for run in runs:
                    writers.create_task(ledger.write(store, run))
                for _ in range(4):
                    await ledger.accepted(20)
                    server.kill()
                    server.start()
                ledger.closed = True
            for run in runs:
                events = (await store.log(run.id, after=-1)).events
                assert [event.body for event in events] == [str(number).encode() for number in range(len(events))]
                assert ledger.entries[run.id] <= len(events) <= ledger.entries[run.id] + 1


class Ledger:
    """How many numbers of each run were acknowledged to those who write them."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.closed = False
        self._accepted = asyncio.Semaphore(0)
        self.refused = asyncio.Event()

    async def write(self, store: RedisStore, run: Run) -> None:
        """Write numbers, each until it is acknowledged."""
        while not self.closed:
            try:
                run = await appended(store, run, str(run.next_sequence).encode())
            except StoreUnavailable:
                self.refused.set()
                await asyncio.sleep(0.01)  # between questions to a server that refuses connections
            else:
                self.entries[run.id] = run.next_sequence
                self._accepted.release()

    async def accepted(self, number: int) -> None:
        """Return once so many more numbers were acknowledged."""
        async with asyncio.timeout(60):
            for _ in range(number):
                await self._accepted.acquire()


async def test_a_dead_server_is_unavailable_at_once_and_used_again_when_it_is_back(
    server: ValkeyServer, store: RedisStore
) -> None:
    """A7."""
    await queued(store, "k")
    server.kill()
    for operation in (store.ping(), queued(store, "k"), store.threads(key_prefix="", after=None, limit=1)):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await operation
        assert caught.value.retryable
        assert time.monotonic() - began < 1.5
    server.start()

    assert await back(store) < 2
    assert (await queued(store, "k")).number == 1


async def test_a_server_that_hangs_is_unavailable_and_used_again_when_it_goes_on(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    run = await running(store, clock, "k")
    server.stop()
    began = time.monotonic()
    answers = await asyncio.gather(
        appended(store, run, b"a"), store.run(run.id), store.ping(), queued(store, "other"), return_exceptions=True
    )
    assert all(isinstance(each, StoreUnavailable) and each.retryable for each in answers)
    assert time.monotonic() - began < 1.5
    server.go_on()

    assert await back(store) < 2
    assert (await appended(store, run, b"a")).next_sequence == 1
    assert [event.body for event in (await store.log(run.id, after=-1)).events] == [b"a"]


async def test_a_server_is_waited_for_as_long_as_an_operation_may_take(server: ValkeyServer, clock: FakeClock) -> None:
    async with redis_store(server.url, GivenTime(clock), patience=2.5) as store:
        server.stop()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        took = time.monotonic() - began
        server.go_on()

        assert 2 <= took < 4
        await back(store)


async def test_a_change_that_was_given_up_never_arrives_later(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    """The server hangs with the question in its socket, and answers it when nobody waits for the answer any more."""
    run, ledger = await running(store, clock, "k"), Ledger()
    async with asyncio.TaskGroup() as writers:
        writers.create_task(ledger.write(store, run))
        for _ in range(3):
            await ledger.accepted(20)
            ledger.refused.clear()
            server.stop()
            async with asyncio.timeout(10):
                await ledger.refused.wait()
            server.go_on()
            await back(store)
        ledger.closed = True

    log = [event.body for event in (await store.log(run.id, after=-1)).events]
    assert log == [str(number).encode() for number in range(len(log))]
    assert len(log) >= ledger.entries[run.id]


async def test_a_server_that_still_loads_its_file_is_unavailable(clock: FakeClock) -> None:
    with ValkeyServer() as server:
        async with redis_store(server.url, GivenTime(clock)) as store:
            with server.client() as client:
                client.mset({f"x{number}": "x" * 100 for number in range(3_000)})
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    client.blpop(["nothing"], timeout=0.01)
            server.kill()
            server.start(wait=False, key_load_delay="200", loading_process_events_interval_bytes="1024")
            causes = await causes_until_back(store)

            assert "LOADING" in causes
            assert (await queued(store, "k")).number == 0


async def test_a_store_closes_soon_while_its_server_refuses_it(server: ValkeyServer, clock: FakeClock) -> None:
    """It connects all the time then, and the driver can swallow the cancellation of whoever connects."""
    for _ in range(5):
        async with redis_store(server.url, GivenTime(clock)) as store:
            server.kill()
            server.start(appendfsync="no")
            with pytest.raises(StoreUnavailable):
                await store.ping()
            began = time.monotonic()
        assert time.monotonic() - began < 2
        server.kill()
        server.start()


# An answer that is lost


@pytest.mark.parametrize("after", [False, True], ids=["before it arrived", "after it was stored"])
async def test_a_change_whose_answer_was_lost_is_made_once(server: ValkeyServer, clock: FakeClock, after: bool) -> None:
    async with CutLine(server.socket).open() as line, redis_store(line.url, GivenTime(clock)) as store:
        thread = (await resolve("k", metadata={}, store=store)).thread

        def counted(state: State) -> tuple[Change, int]:
            seen = state.existing_thread()
            return Change(thread=replace(seen, run_count=seen.run_count + 1)), seen.run_count

        counts = []
        for _ in range(3):
            line.cut_at(b"HINCRBY", after=after)
            counts.append(await store.change(Scope(thread_id=thread.id), counted))

        assert (counts, line.cuts) == ([0, 1, 2], 3)
        assert (await store.thread(thread.id)).run_count == 3


# Forgetting


async def test_a_server_that_forgot_everything_is_not_written_to(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    """F25: numbers never begin anew."""
    run = await running(store, clock, "k")
    with server.client() as client:
        client.flushall()

    for operation in (queued(store, "k"), appended(store, run, b"x"), store.ping(), store.run(run.id)):
        with pytest.raises(StoreGenerationChanged) as caught:
            await operation
        assert (caught.value.reason, caught.value.retryable) == ("STORE_GENERATION_CHANGED", False)
    with server.client() as client:
        assert client.keys("*") == []
    async with redis_store(server.url, GivenTime(clock)) as again:
        assert (await queued(again, "k")).number == 0
        with pytest.raises(StoreGenerationChanged):
            await queued(store, "k")


async def test_a_server_that_lost_its_last_writes_is_not_written_to(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    """F26: as after a failover to a replica that had not heard of them."""
    run = await appended(store, await running(store, clock, "k"), b"a")
    server.kill()
    files = server.directory / "appendonlydir"
    shutil.copytree(files, server.directory / "earlier")
    server.start()
    await back(store)
    await appended(store, run, b"b")
    server.kill()
    shutil.rmtree(files)
    (server.directory / "earlier").rename(files)
    server.start()

    with pytest.raises(StoreGenerationChanged):
        await appended(store, run, b"c")
    async with redis_store(server.url, GivenTime(clock)) as again:
        assert (await again.run(run.id)).next_sequence == 1


# Memory


async def test_a_full_server_refuses_writes_while_reading_goes_on(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    run = await running(store, clock, "k")
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            await appended(store, run, b"x" * 100_000)

        assert (await store.run(run.id)).next_sequence == 0
        assert (await store.log(run.id, after=-1)).events == ()
        client.config_set("maxmemory", 0)
        assert (await appended(store, run, b"x" * 100_000)).next_sequence == 1


# Hearing of changes


async def test_a_lost_subscription_is_made_again_and_wakes_everybody(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    run = await running(store, clock, "k")
    async with redis_store(server.url, GivenTime(clock)) as other:
        with other.changes(run.id) as changes, other.changes("nobody's") as others:
            await changes.wait(0.5)
            server.kill()
            async with asyncio.timeout(10):
                await asyncio.gather(changes.wait(60), others.wait(60))
            server.start()
            async with asyncio.timeout(10):
                await asyncio.gather(changes.wait(60), others.wait(60))
            await back(store)
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                tasks.create_task(changes.wait(60))
                await appended(store, run, b"x")


async def test_a_watcher_goes_on_when_the_server_was_restarted(
    server: ValkeyServer, store: RedisStore, clock: FakeClock
) -> None:
    run = await appended(store, await running(store, clock, "k"), b"a")
    server.kill()
    server.start()
    await back(store)

    async with asyncio.timeout(10), aclosing(watch(run.id, after=-1, store=store)) as pieces:
        assert [event.body for event in await anext(pieces)] == [b"a"]
