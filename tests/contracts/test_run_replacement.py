"""Runs that take the place of one that has ended: what its key finds then, and what its thread holds."""

import asyncio

import pytest

from context_svc.domain.ports import Store
from context_svc.domain.start import Started
from tests.context_svc.given import (
    at_once,
    claimed,
    finished,
    started,
    texts,
)
from threadmesh.testing.clock import FakeClock


async def test_a_run_takes_the_place_of_one_that_has_ended_and_its_key_finds_it_from_then_on(
    store: Store, clock: FakeClock
) -> None:
    first = await finished(store, await claimed(store, clock, (await started(store, thread_key="k", key="a")).run))
    starts = (started(store, thread_key="k", key="a", instead_of=first.id) for _ in range(8))
    results = await asyncio.gather(*starts)
    again = await started(store, thread_key="k", key="a")

    assert sorted(each.replayed for each in results) == [False] + [True] * 7
    assert {each.run.id for each in results} == {again.run.id} != {first.id}
    assert again.replayed


async def test_no_run_takes_the_place_of_one_that_goes_on(store: Store, clock: FakeClock) -> None:
    run = await claimed(store, clock, (await started(store, key="a")).run)
    again = await started(store, key="a", instead_of=run.id)

    assert again == Started(run=run, replayed=True)


@pytest.mark.parametrize(("said", "left"), [((), ["hello"]), ((b"x",), ["hello", "hello"])])
async def test_the_input_of_a_run_that_said_nothing_leaves_its_thread_with_its_place(
    store: Store, clock: FakeClock, said: tuple[bytes, ...], left: list[str]
) -> None:
    run = await claimed(store, clock, (await started(store, thread_key="k", key="a")).run)
    await finished(store, run, *said)
    anew = (await started(store, thread_key="k", key="a", instead_of=run.id)).run
    await claimed(store, clock, anew)
    items = await store.items(run.thread_id, after=None, limit=10, descending=False)

    assert [item.message.text for item in items] == left
    assert items[-1].run_id == anew.id


async def test_input_that_another_run_may_be_reading_stays(store: Store, clock: FakeClock) -> None:
    run = await finished(store, await claimed(store, clock, (await started(store, thread_key="k", key="a")).run))
    await at_once(store, "k")
    await started(store, thread_key="k", key="a", instead_of=run.id)

    assert await texts(store, run.thread_id) == ["hello", "hello"]
