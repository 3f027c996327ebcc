"""What every store promises about how much is stored: exact at every moment, and nothing is counted twice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from context_svc.adapters import sizes
from context_svc.domain.append_events import append_events
from context_svc.domain.append_items import append_items
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.create_thread import NewThread, create_thread
from context_svc.domain.delete import delete
from context_svc.domain.delete_item import delete_item
from context_svc.domain.forget_inputs import forget_ended_inputs
from context_svc.domain.forget_logs import forget_logs
from context_svc.domain.item import new_item
from context_svc.domain.ports import Store
from context_svc.domain.prune import EPHEMERAL_LIFETIME, prune
from context_svc.domain.prune_thread import prune_thread
from context_svc.domain.resolve import resolve
from context_svc.domain.retention import Rule
from context_svc.domain.run import Run
from context_svc.domain.start import Started, StartRequest, start
from context_svc.domain.update_thread import update_thread
from tests.context_svc.given import appended, claimed, finished, said, stored_exactly, writing
from threadmesh.conversation import CallFinished, CallOutcome, Message, Role, Text
from threadmesh.errors import InsufficientQuota, ThreadNotFound
from threadmesh.testing.clock import FakeClock

TENANT = "home"
OWL = "ünï 🦉" * 9


async def counted(store: Store) -> int:
    """What the tenant has stored; exactly that."""
    return await stored_exactly(store, TENANT)


async def asked(
    store: Store,
    key: str = "",
    *,
    text: str = OWL,
    idempotency: str = "",
    limit: int = 0,
    instead_of: str = "",
    owner: str = "",
) -> Started:
    request = StartRequest(
        input=(said(text),),
        timeout=600.0,
        thread_key=key,
        parameters_json='{"model": "ünï"}',
        idempotency_key=idempotency,
        fingerprint="one",
        tenant=TENANT,
        limit=limit,
        instead_of=instead_of,
        owner=owner,
    )
    return await start(request, store=store)


async def begun(store: Store, clock: FakeClock, key: str = "k") -> Run:
    return await claimed(store, clock, (await asked(store, key)).run)


async def test_nothing_is_stored_at_first_and_others_do_not_count(store: Store) -> None:
    await resolve("k", metadata={"of": "somebody else"}, store=store, tenant="work")

    assert await counted(store) == 0
    assert await store.stored("work") > 100


async def test_what_is_said_done_and_told_counts(store: Store, clock: FakeClock) -> None:
    seen = [await counted(store)]
    run = await begun(store, clock)
    seen.append(await counted(store))
    run = await appended(store, run, b"one", b"two" * 50)
    seen.append(await counted(store))
    run = await append_events(writing(run, b"three", items=(said("mid", Role.ASSISTANT),)), store=store)
    seen.append(await counted(store))
    await finished(store, run, b"last", items=(said("bye", Role.ASSISTANT),))
    seen.append(await counted(store))

    assert seen == sorted(set(seen))
    assert seen[2] - seen[1] == len(b"one" + b"two" * 50) + 2 * 4


async def test_input_counts_while_it_waits_and_not_twice(store: Store, clock: FakeClock) -> None:
    first = await begun(store, clock)
    before = await counted(store)
    waiting = (await asked(store, "k")).run
    with_input = await counted(store)
    await finished(store, first)
    ended = await counted(store)
    await claimed(store, clock, waiting)

    assert with_input - before >= len(OWL.encode()) + sizes.run_bytes(waiting)
    assert await counted(store) == ended


async def test_input_of_a_run_that_never_begins_counts_until_it_is_forgotten(store: Store, clock: FakeClock) -> None:
    await begun(store, clock)
    before = await counted(store)
    waiting = (await asked(store, "k")).run
    gone = await cancel(waiting.id, store=store)
    kept = await counted(store)
    clock.advance(1)
    await forget_ended_inputs(before=clock.now(), store=store)

    assert kept > before + sizes.run_bytes(gone) + len(OWL.encode())
    assert await counted(store) == before + sizes.run_bytes(gone)


@pytest.mark.parametrize("result", ["", "a long result " * 40])
async def test_a_call_counts_once_however_often_it_is_written(store: Store, clock: FakeClock, result: str) -> None:
    run = await begun(store, clock)
    before = await counted(store)
    call = Call(id="c1", run_id=run.id, ordinal=0, name="t", arguments_json='{"ä": 1}', state=CallState.PLANNED)
    ended = CallFinished(outcome=CallOutcome.SUCCEEDED, parts=(Text(text=result),))
    last = replace(call, state=CallState.FINISHED, finished=ended)
    for each in (call, replace(call, state=CallState.INTENT), last, replace(last, finished=None), call, last):
        run = await append_events(writing(run, b"x", calls=(each,)), store=store)

    assert await counted(store) == before + sizes.call_bytes(last) + 6 * 5


async def test_a_repeated_request_counts_once(store: Store, clock: FakeClock) -> None:
    first = await asked(store, "k", idempotency="i")
    run = await claimed(store, clock, first.run)
    write = writing(run, b"one")
    await append_events(write, store=store)
    before = await counted(store)
    again = await asked(store, "k", idempotency="i")
    await append_events(write, store=store)
    await finished(store, await store.run(run.id))
    ended = await counted(store)
    thread = await store.thread(run.thread_id)
    for _ in range(2):
        appended = await append_items(thread.id, (said("once"),), request_id="r", fingerprint="f", store=store)

    assert again.replayed
    assert ended > before
    assert await counted(store) == ended + sizes.item_bytes(appended.items[0])


@pytest.mark.parametrize("owner", ["", "facade-1"])
async def test_input_that_is_said_again_in_place_of_a_run_counts_once(
    store: Store, clock: FakeClock, owner: str
) -> None:
    run = await finished(store, await claimed(store, clock, (await asked(store, "k", idempotency="i")).run))
    before = await counted(store)
    anew = (await asked(store, "k", idempotency="i", instead_of=run.id, owner=owner)).run
    ended = await finished(store, anew if owner else await claimed(store, clock, anew))

    assert await counted(store) == before + sizes.run_bytes(ended)


async def test_what_is_deleted_counts_no_more(store: Store, clock: FakeClock) -> None:
    kept = await begun(store, clock, "kept")
    await finished(store, kept, b"log")
    before = await counted(store)
    run = await begun(store, clock, "gone")
    call = Call(id="c1", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.PLANNED)
    await finished(store, await append_events(writing(run, b"x", calls=(call,)), store=store), b"y")
    await delete(run.thread_id, store=store)

    assert await counted(store) == before
    await delete(kept.thread_id, store=store)
    assert await counted(store) == 0


async def test_a_deleted_item_counts_no_more_and_a_part_of_one_less(store: Store) -> None:
    message = Message(role=Role.USER, parts=(Text(text=OWL), Text(text="rest")))
    new = NewThread(metadata={"ä": "ö"}, items=(said("a"), new_item(message), said("b")), tenant=TENANT)
    thread = (await create_thread(new, store=store)).thread
    before = await counted(store)
    await delete_item(thread.id, 1, remaining=replace(message, parts=message.parts[1:]), store=store)
    less = await counted(store)
    await delete_item(thread.id, 1, store=store)

    assert before - less == len(b'{"text":""},') + len(OWL.encode())
    assert await counted(store) == less - sizes.item_bytes(
        replace(
            (await store.items(thread.id, after=None, limit=1, descending=False))[0],
            message=replace(message, parts=message.parts[1:]),
        )
    )


async def test_new_metadata_counts_in_place_of_the_old(store: Store) -> None:
    thread = (await resolve("k", metadata={}, store=store, tenant=TENANT)).thread
    empty = await counted(store)
    await update_thread(thread.id, metadata={"topic": OWL}, store=store)
    full = await counted(store)
    await update_thread(thread.id, metadata={}, store=store)

    assert full - empty == len(f'"topic": "{OWL}"'.encode())
    assert await counted(store) == empty


async def test_what_was_pruned_counts_no_more(store: Store, clock: FakeClock) -> None:
    for _ in range(4):
        run = await begun(store, clock)
        await finished(store, run, b"event", items=(said("yes", Role.ASSISTANT),))
    before = await counted(store)
    items = await prune_thread(
        run.thread_id, Rule(pattern="*", max_items=2), now=clock.now(), store=store, dry_run=False
    )

    assert items == 6
    assert before - await counted(store) == 3 * (
        sizes.EVENT
        + len(b"event")
        + sum(map(sizes.item_bytes, await store.items(run.thread_id, after=None, limit=2, descending=False)))
    )


async def test_a_forgotten_log_counts_no_more(store: Store, clock: FakeClock) -> None:
    run = await begun(store, clock)
    call = Call(id="c1", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.PLANNED)
    before = await counted(store)
    run = await append_events(writing(run, b"x" * 999, calls=(call,)), store=store)
    run = await finished(store, run)
    await forget_logs([run.id, run.id], store=store)

    assert await counted(store) - before == sizes.run_bytes(run) - sizes.run_bytes(replace(run, finished=None))


async def test_compaction_changes_nothing(store: Store, clock: FakeClock) -> None:
    run = await begun(store, clock)
    for number in range(5):
        run = await appended(store, run, b"event %d" % number)
    await finished(store, run)
    before = await counted(store)
    while await store.compact(limit=10):
        pass

    assert await counted(store) == before
    await forget_logs([run.id], store=store)
    assert await counted(store) == before - 5 * (len(b"event 0") + 4)


async def test_the_log_of_a_stateless_request_counts_until_it_is_swept(store: Store, clock: FakeClock) -> None:
    request = StartRequest(input=(said("hi"),), timeout=600.0, tenant=TENANT)
    run = await claimed(store, clock, (await start(request, store=store)).run)
    await finished(store, run, b"event")
    before = await counted(store)
    clock.advance((EPHEMERAL_LIFETIME + timedelta(seconds=1)).total_seconds())
    await prune(clock.now(), store=store)

    assert before > 200
    assert await counted(store) == 0


async def test_who_has_stored_enough_may_not_store_more(store: Store) -> None:
    thread = (await resolve("k", metadata={}, store=store, tenant=TENANT)).thread
    limit = await counted(store)
    with pytest.raises(InsufficientQuota) as refused:
        await asked(store, "k", limit=limit)
    with pytest.raises(InsufficientQuota):
        await append_items(
            thread.id, (said("x"),), request_id="", fingerprint="", store=store, tenant=TENANT, limit=limit
        )
    with pytest.raises(InsufficientQuota):
        await create_thread(NewThread(metadata={}, tenant=TENANT, limit=limit), store=store)
    with pytest.raises(InsufficientQuota):
        await resolve("other", metadata={}, store=store, tenant=TENANT, limit=limit)

    assert refused.value.facts == {"stored_bytes": str(limit), "limit_bytes": str(limit)}
    assert (await resolve("k", metadata={}, store=store, tenant=TENANT, limit=limit)).thread == thread
    assert await counted(store) == limit


async def test_others_and_requests_without_a_thread_are_not_refused(store: Store) -> None:
    await resolve("k", metadata={}, store=store, tenant="work")
    await asked(store, "k", limit=1)
    before = await store.stored(TENANT)
    await asked(store, limit=1)

    assert await store.stored(TENANT) > before > 1


async def test_a_repetition_of_what_had_room_is_not_refused(store: Store) -> None:
    first = await asked(store, "k", idempotency="i", limit=1)
    again = await asked(store, "k", idempotency="i", limit=1)
    new = NewThread(metadata={}, tenant="work", request_id="r", limit=1)

    assert (again.run.id, again.replayed) == (first.run.id, True)
    made = [await create_thread(new, store=store) for _ in range(2)]
    assert made[0].thread.id == made[1].thread.id


async def test_a_run_under_way_ends_whatever_is_stored(store: Store, clock: FakeClock) -> None:
    run = await claimed(store, clock, (await asked(store, "k", limit=1)).run)
    run = await append_events(writing(run, b"x", items=(said("mid", Role.ASSISTANT),)), store=store)
    with pytest.raises(InsufficientQuota):
        await asked(store, "other", limit=await counted(store))
    ended = await finished(store, run, b"last", items=(said("bye", Role.ASSISTANT),))
    await delete(run.thread_id, store=store)

    assert ended.finished is not None
    with pytest.raises(ThreadNotFound):
        await store.thread(run.thread_id)
    await asked(store, "other", limit=1)
