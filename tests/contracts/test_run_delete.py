"""What every store promises about runs that are deleted one by one."""

from functools import partial

import pytest

from context_svc.domain.append_events import append_events
from context_svc.domain.append_summary import NewSummary, append_summary
from context_svc.domain.call import Call, CallState
from context_svc.domain.cancel import cancel
from context_svc.domain.delete_run import delete_run
from context_svc.domain.item import Span
from context_svc.domain.ports import Store
from context_svc.domain.run import Run, RunState
from tests.context_svc.given import (
    claimed,
    finished,
    queued,
    running,
    said,
    started,
    stored_exactly,
    texts,
    whole_log,
    writing,
)
from threadmesh.conversation import Role
from threadmesh.errors import RunNotFound, ThreadBusy
from threadmesh.testing.clock import FakeClock


async def answered(store: Store, clock: FakeClock, text: str) -> Run:
    run = await claimed(store, clock, (await started(store, thread_key="k", text=text)).run)
    call = Call(id="c", run_id=run.id, ordinal=0, name="t", arguments_json="{}", state=CallState.SENT)
    run = await append_events(writing(run, text.encode(), calls=(call,)), store=store)
    return await finished(store, run, items=(said(f"re: {text}", Role.ASSISTANT),))


async def test_the_last_run_goes_with_what_it_was_told_and_has_said(store: Store, clock: FakeClock) -> None:
    first, last = await answered(store, clock, "one"), await answered(store, clock, "two")

    await delete_run(last.id, store=store)

    assert (await store.run(last.id)).state is RunState.DELETED
    assert await store.calls(last.id) == ()
    assert (await store.log(last.id, after=-1)).events == ()
    assert len(await whole_log(store, first.id)) == 2
    assert await stored_exactly(store, "") > 0
    items = await store.items(first.thread_id, after=None, limit=10, descending=False)
    assert [item.message.text for item in items] == ["one", "re: one"]
    following = await answered(store, clock, "three")
    assert (following.number, following.first_item) == (2, 4)


async def test_what_later_runs_were_told_stays(store: Store, clock: FakeClock) -> None:
    first, last = await answered(store, clock, "one"), await answered(store, clock, "two")

    await delete_run(first.id, store=store)

    assert await texts(store, last.thread_id) == ["one", "re: one", "two", "re: two"]
    assert (await store.log(first.id, after=-1)).events == ()
    assert len(await whole_log(store, last.id)) == 2
    assert await stored_exactly(store, "") > 0


async def test_nothing_of_the_request_stays(store: Store, clock: FakeClock) -> None:
    first, last = await answered(store, clock, "one"), await answered(store, clock, "two")
    before = await stored_exactly(store, "")

    await delete_run(first.id, store=store)

    assert first.parameters_json
    assert (await store.run(first.id)).parameters_json == ""
    assert (await store.run(last.id)).parameters_json == last.parameters_json
    assert await stored_exactly(store, "") < before - len(first.parameters_json)


async def test_what_was_summarized_stays(store: Store, clock: FakeClock) -> None:
    run = await answered(store, clock, "one")
    summary = NewSummary(text="in short", read=Span(first=0, last=1))
    await append_summary(run.thread_id, summary, store=store)

    await delete_run(run.id, store=store)

    assert await texts(store, run.thread_id) == ["one", "re: one", "in short"]


async def test_input_that_no_model_has_read_goes_with_its_run(store: Store) -> None:
    run = await queued(store, "k")
    await cancel(run.id, store=store)

    await delete_run(run.id, store=store)

    assert await store.input(run.id) == ()
    assert await stored_exactly(store, "") > 0


async def test_an_open_run_is_not_deleted(store: Store, clock: FakeClock) -> None:
    run = await running(store, clock)

    with pytest.raises(ThreadBusy):
        await delete_run(run.id, store=store)
    with pytest.raises(RunNotFound):
        await delete_run("run_none", store=store)

    assert await store.run(run.id) == run


async def test_a_key_makes_another_run_in_the_place_of_one_that_was_deleted(store: Store, clock: FakeClock) -> None:
    start = partial(started, store, thread_key="k", key="i")
    first = (await start()).run
    await finished(store, await claimed(store, clock, first))
    await delete_run(first.id, store=store)

    second, third = await start(), await start()

    assert (second.replayed, third.replayed) == (False, True)
    assert second.run.id == third.run.id != first.id
