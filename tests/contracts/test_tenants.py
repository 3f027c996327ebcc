"""What every store promises about tenants: keys of their own, and lists that hold nothing of others."""

import pytest

from context_svc.domain.delete import delete
from context_svc.domain.find import find
from context_svc.domain.import_thread import History, import_thread
from context_svc.domain.ports import Store
from context_svc.domain.resolve import resolve
from context_svc.domain.run import RunState
from context_svc.domain.start import Started, StartRequest, start
from context_svc.domain.thread import Thread
from tests.context_svc.given import claimed, finished, said
from threadmesh.errors import ThreadNotFound
from threadmesh.testing.clock import FakeClock


async def asked(
    store: Store, tenant: str | None, key: str = "", *, thread_id: str = "", idempotency: str = ""
) -> Started:
    request = StartRequest(
        input=(said(f"hello {tenant}"),),
        timeout=600.0,
        thread_key=key,
        thread_id=thread_id,
        idempotency_key=idempotency,
        fingerprint="one",
        tenant=tenant,
    )
    return await start(request, store=store)


async def resolved(store: Store, key: str, tenant: str) -> Thread:
    return (await resolve(key, metadata={}, store=store, tenant=tenant)).thread


async def keys(store: Store, tenant: str | None, prefix: str = "") -> set[str]:
    return {each.key for each in await store.threads(key_prefix=prefix, after=None, limit=10, tenant=tenant)}


async def test_a_key_is_one_thread_for_each_tenant(store: Store) -> None:
    threads = [await resolved(store, "k", tenant) for tenant in ("", "a", "b", "a")]

    assert len({thread.id for thread in threads}) == 3
    assert [thread.tenant for thread in threads] == ["", "a", "b", "a"]
    assert threads[1] == threads[3]
    assert (await store.thread(threads[2].id)).tenant == "b"


async def test_a_key_finds_the_tenants_thread_and_makes_none(store: Store) -> None:
    mine = await resolved(store, "k", "a")

    assert await find("k", store=store, tenant="a") == mine
    assert [await find(key, store=store, tenant=tenant) for key, tenant in (("k", "b"), ("k", ""), ("kk", "a"))] == (
        [None] * 3
    )
    assert await keys(store, None) == {"k"}


async def test_a_list_of_threads_holds_only_the_tenants(store: Store) -> None:
    for tenant, key in (("", "x:1"), ("a", "x:2"), ("a", "y:3"), ("b", "x:4")):
        await resolved(store, key, tenant)

    assert await keys(store, "") == {"x:1"}
    assert await keys(store, "a") == {"x:2", "y:3"}
    assert await keys(store, "a", "x:") == {"x:2"}
    assert await keys(store, "c") == set()
    assert await keys(store, None) == {"x:1", "x:2", "y:3", "x:4"}
    assert await keys(store, None, "x:") == {"x:1", "x:2", "x:4"}


async def test_runs_belong_to_the_tenant_of_their_thread(store: Store, clock: FakeClock) -> None:
    mine = (await asked(store, "a", "k")).run
    theirs = (await asked(store, "b", "k")).run
    alone = (await asked(store, "a")).run
    nobodys = (await asked(store, None)).run
    later = (await asked(store, None, thread_id=mine.thread_id)).run

    assert [run.tenant for run in (mine, theirs, alone, nobodys, later)] == ["a", "b", "a", "", "a"]
    assert mine.thread_id != theirs.thread_id
    assert (await claimed(store, clock, mine)).tenant == "a"

    async def listed(tenant: str | None, *states: RunState) -> set[str]:
        found = await store.runs(thread_id="", states=states, after=None, limit=10, tenant=tenant)
        return {run.id for run in found}

    assert await listed("a") == {mine.id, alone.id, later.id}
    assert await listed("a", RunState.QUEUED) == {alone.id, later.id}
    assert await listed("b") == {theirs.id}
    assert await listed("") == {nobodys.id}
    assert len(await listed(None)) == 5


async def test_nobody_starts_a_run_in_anothers_thread(store: Store) -> None:
    thread = await resolved(store, "k", "a")
    for stranger in ("", "b"):
        with pytest.raises(ThreadNotFound):
            await asked(store, stranger, thread_id=thread.id)

    assert (await asked(store, "a", thread_id=thread.id)).run.thread_id == thread.id


async def test_an_idempotency_key_is_the_tenants_own(store: Store) -> None:
    first = await asked(store, "a", "k", idempotency="once")
    others = [await asked(store, tenant, "k", idempotency="once") for tenant in ("b", "")]
    again = await asked(store, "a", "k", idempotency="once")

    assert [each.replayed for each in others] == [False, False]
    assert again == Started(run=first.run, replayed=True)


async def test_a_tenant_that_deletes_a_thread_takes_nothing_from_another(store: Store, clock: FakeClock) -> None:
    run = await claimed(store, clock, (await asked(store, "a", "k", idempotency="once")).run)
    await finished(store, run)
    theirs = (await asked(store, "b", "k", idempotency="once")).run
    await delete(run.thread_id, store=store)

    assert await keys(store, "a") == set()
    assert await keys(store, "b") == {"k"}
    assert await store.runs(thread_id="", states=(), after=None, limit=10, tenant="a") == ()
    assert (await store.run(theirs.id)).tenant == "b"
    assert (await resolved(store, "k", "a")).id != run.thread_id
    assert (await asked(store, "b", "k", idempotency="once")).run.id == theirs.id


async def test_a_history_is_added_to_the_tenants_thread(store: Store) -> None:
    theirs = await resolved(store, "k", "b")
    now = theirs.create_time
    history = History(key="k", create_time=now, update_time=now, metadata={}, tenant="a")

    assert (await import_thread(history, store=store)).thread.tenant == "a"
    assert (await import_thread(history, store=store)).thread.id != theirs.id
