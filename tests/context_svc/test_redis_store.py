"""What a Redis store alone can get wrong, while its server is well: commits, forgetting, listing, reading too much."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from context_svc.adapters.redis_server import OutcomeUnknown
from context_svc.adapters.redis_store import RedisStore
from context_svc.domain.append_events import append_events
from context_svc.domain.append_items import append_items
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.change import Change, Scope, State
from context_svc.domain.delete import delete
from context_svc.domain.forget_inputs import forget_ended_inputs
from context_svc.domain.forget_logs import forget_logs
from context_svc.domain.item import NewItem, numbered
from context_svc.domain.prune import prune
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import sweep
from context_svc.domain.retention import parse_rules
from tests.context_svc.given import (
    GivenTime,
    appended,
    claimed,
    finished,
    patient_redis,
    queued,
    running,
    said,
    started,
    texts,
    valkey_server,
    whole_log,
    writing,
)
from threadmesh.errors import ThreadDamaged
from threadmesh.testing.clock import FakeClock

CANARY = "canary-7c1f2a"


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone, in a server without any others."""
    with valkey_server().client() as client:
        client.flushall()
    return "mesh:"


@pytest.fixture
async def store(prefix: str, clock: FakeClock) -> AsyncIterator[RedisStore]:
    async with patient_redis(valkey_server().url, GivenTime(clock), prefix=prefix) as opened:
        yield opened


def keys(pattern: str = "*") -> list[str]:
    with valkey_server().client() as client:
        return sorted(key.decode(errors="replace") for key in client.scan_iter(pattern, count=1000))


# Commits


async def test_changes_that_come_together_are_one_commit(store: RedisStore) -> None:
    before = commits()
    await asyncio.gather(*(started(store, thread_key=f"k{each % 3}") for each in range(20)))

    assert commits() - before <= 2
    assert max(run.number for run in await store.runs(thread_id="", states=(), after=None, limit=99)) == 6


def commits() -> int:
    with valkey_server().client() as client:
        return int(client.hget("mesh:meta", "commits") or 0)


async def test_a_defect_does_not_harm_those_that_share_its_commit(store: RedisStore, clock: FakeClock) -> None:
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


# Forgetting


async def test_deleting_a_thread_leaves_no_key_and_no_byte_of_it(store: RedisStore, clock: FakeClock) -> None:
    """A6: not even in the append-only file, once the server has written it anew."""
    kept = await running(store, clock, "kept")
    before = keys("mesh:*")
    run = (await started(store, thread_key=f"{CANARY}-key", text=f"{CANARY}-input", key=f"{CANARY}-idem")).run
    run = await claimed(store, clock, run, owner=f"{CANARY}-owner")
    await cancel((await started(store, thread_key=f"{CANARY}-key", text=f"{CANARY}-waiting")).run.id, store=store)
    run = await appended(store, run, f"{CANARY}-event".encode())
    await finished(store, run, items=(said(f"{CANARY}-item"),))
    assert CANARY.encode() in everything()

    await delete(run.thread_id, store=store)
    rewrite()

    assert [key for key in keys("mesh:*") if key not in before] == []
    assert CANARY.encode() not in everything()
    assert await texts(store, kept.thread_id) == ["hello"]


async def test_a_run_that_an_earlier_version_has_forgotten_is_named_no_more(
    store: RedisStore, clock: FakeClock
) -> None:
    with valkey_server().client() as client:
        client.zadd("mesh:inputs", {"run_gone": 1, "run_lost": 2})
    await running(store, clock, "k")
    run = await cancel((await queued(store, "k")).id, store=store)
    clock.advance(1)

    assert await store.ended_inputs(before=clock.now(), limit=1) == (run.id,)
    with valkey_server().client() as client:
        assert client.zrange("mesh:inputs", 0, -1) == [run.id.encode()]


def everything() -> bytes:
    """All bytes that the server keeps in files."""
    return b"".join(path.read_bytes() for path in (valkey_server().directory / "appendonlydir").iterdir())


def rewrite() -> None:
    """Let the server write its append-only file anew, and wait until the old one is gone."""
    with valkey_server().client() as client:
        client.bgrewriteaof()
        for _ in range(3000):
            info = client.info("persistence")
            if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
                files = list((valkey_server().directory / "appendonlydir").iterdir())
                if len(files) == 3:  # base, increment, manifest
                    return
            client.blpop(["nothing"], timeout=0.01)
    raise AssertionError("the rewriting of the append-only file has not ended")


async def test_the_last_thread_leaves_only_what_belongs_to_the_store(store: RedisStore, clock: FakeClock) -> None:
    run = (await started(store, thread_key="k", key="a")).run
    await finished(store, await claimed(store, clock, run), b"x", items=(said("be kind"),))
    await delete(run.thread_id, store=store)

    assert [key for key in keys("mesh:*") if ":writer:" not in key] == ["mesh:meta"]


async def test_a_receipt_that_a_later_thread_took_over_outlives_the_first_thread(
    store: RedisStore, clock: FakeClock
) -> None:
    first = (await started(store, thread_key="k", key="a")).run
    await finished(store, await claimed(store, clock, first))
    clock.advance(24 * 3600 + 1)
    second = (await started(store, thread_key="other", key="a")).run

    await delete(first.thread_id, store=store)

    assert (await started(store, thread_key="other", key="a")).run == second


async def test_the_input_of_a_run_that_is_cancelled_unclaimed_is_forgotten_without_a_trace(
    store: RedisStore, clock: FakeClock
) -> None:
    run = (await started(store, text=f"{CANARY}-input")).run
    await cancel(run.id, store=store)
    clock.advance(1)
    assert keys("mesh:run:*:input") == [f"mesh:run:{run.id}:input"]

    await forget_ended_inputs(before=clock.now(), store=store)
    rewrite()

    assert keys("mesh:run:*:input") == keys("mesh:inputs") == []
    assert CANARY.encode() not in everything()


async def test_a_log_that_was_forgotten_leaves_the_run_alone(store: RedisStore, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    call = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.SENT)
    run = await finished(store, await append_events(writing(run, b"a", calls=(call,)), store=store), b"b")
    assert len(keys(f"mesh:run:{run.id}*")) == 3

    await forget_logs([run.id], store=store)

    assert keys(f"mesh:run:{run.id}*") == [f"mesh:run:{run.id}"]
    assert keys("mesh:logs") == []


async def test_pruned_items_leave_no_byte(store: RedisStore, clock: FakeClock) -> None:
    thread = (await resolve("k", metadata={}, store=store)).thread
    for text in (f"{CANARY}-old", "new"):
        await append_items(thread.id, (said(text),), request_id="", fingerprint="", store=store)
    assert CANARY.encode() in everything()

    await sweep(parse_rules("k max_items=1"), now=clock.now(), after=None, store=store)
    rewrite()

    (kept,) = await store.items(thread.id, after=None, limit=10, descending=False)
    assert (kept.sequence, kept.message.text) == (1, "new")
    assert CANARY.encode() not in everything()


async def test_many_expired_receipts_are_forgotten(store: RedisStore, clock: FakeClock) -> None:
    for number in range(0, 1200, 60):
        await asyncio.gather(
            *(started(store, thread_key=f"k{number + each}", key=f"{number + each}") for each in range(60))
        )
    clock.advance(24 * 3600 + 1)

    assert (await prune(clock.now(), store=store)).receipts == 1200
    assert keys("mesh:receipts*") == []


# Reading


async def test_threads_are_listed_alike_by_the_order_of_keys_and_by_their_use(
    store: RedisStore, clock: FakeClock
) -> None:
    names = [f"{'rare' if number % 50 == 0 else 'often'}:{number}" for number in range(300)]
    for name in names:
        await resolve(name, metadata={}, store=store)
        clock.advance(number_of(name) % 2)

    async def listed(begins: str) -> list[str]:
        threads = await store.threads(key_prefix=begins, after=None, limit=10)
        return [thread.key for thread in threads]

    assert [number_of(key) for key in await listed("rare:")] == [250, 200, 150, 100, 50, 0]
    assert {number_of(key) for key in await listed("often:")} == set(range(290, 300))
    assert {number_of(key) for key in await listed("")} == set(range(290, 300))


def number_of(key: str) -> int:
    return int(key.rpartition(":")[2])


async def test_a_page_of_a_long_log_does_not_move_the_rest(store: RedisStore, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    for _ in range(30):
        run = await appended(store, run, b"x" * 300_000)

    before = sent()
    log = await store.log(run.id, after=9)

    assert [event.sequence for event in log.events] == [10, 11, 12]
    assert sent() - before < 2_500_000


def sent() -> int:
    with valkey_server().client() as client:
        return int(client.info("stats")["total_net_output_bytes"])


async def test_a_log_of_small_writes_fills_its_pages(store: RedisStore, clock: FakeClock) -> None:
    run = await running(store, clock, "k")
    for _ in range(400):
        run = await appended(store, run, b"x" * 100)

    assert len((await store.log(run.id, after=-1)).events) == 400
    assert len(await whole_log(store, (await finished(store, run)).id)) == 401


async def test_a_damaged_item_is_noticed_and_other_threads_are_not_harmed(store: RedisStore, clock: FakeClock) -> None:
    damaged, sound = await running(store, clock, "damaged"), await running(store, clock, "sound")
    items = f"mesh:thread:{damaged.thread_id}:items"
    with valkey_server().client() as client:
        ((record, number),) = client.zpopmin(items)
        client.zadd(items, {record.replace(b"hello", b"jello"): number})

    with pytest.raises(ThreadDamaged) as caught:
        await texts(store, damaged.thread_id)
    assert caught.value.facts == {"thread_id": damaged.thread_id, "sequence": "0"}
    assert await texts(store, sound.thread_id) == ["hello"]


async def test_a_thread_that_lost_an_item_takes_no_more(store: RedisStore, clock: FakeClock) -> None:
    """A number is never given twice."""
    thread = (await resolve("k", metadata={}, store=store)).thread
    await append_items(thread.id, (said("a"), said("b")), request_id="", fingerprint="", store=store)
    with valkey_server().client() as client:
        client.zpopmax(f"mesh:thread:{thread.id}:items")

    with pytest.raises(ThreadDamaged):
        await append_items(thread.id, (said("c"),), request_id="", fingerprint="", store=store)
    assert await texts(store, thread.id) == ["a"]


async def test_more_items_than_a_script_takes_at_once_are_stored(store: RedisStore) -> None:
    thread = (await resolve("k", metadata={}, store=store)).thread
    many = tuple(said(str(number)) for number in range(9_000))

    await appended_at_last(store, thread.id, many)

    assert await texts(store, thread.id) == [str(number) for number in range(9_000)]


async def appended_at_last(store: RedisStore, thread_id: str, items: tuple[NewItem, ...]) -> None:
    """Append, and as clients do repeat what a slow disk left without an answer; its receipt makes that harmless."""
    for _ in range(20):
        with suppress(OutcomeUnknown):
            await append_items(thread_id, items, request_id="many", fingerprint="", store=store)
            return
    raise AssertionError("the store has given no answer, twenty times")
