"""A run's events are written in order, together where that costs nobody anything, and never held back at the start."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from facade.domain.events import ModelFinished, ModelStarted, Run, RunFinished, RunState
from facade.domain.journal import Journal
from facade.domain.records import Batch, CallRecord, NewItem
from threadmesh.conversation import FinishReason, Role, TextDelta, message
from threadmesh.errors import InvalidArgument, StaleEpoch, Unavailable

RUN = Run(id="r", thread_id="t", state=RunState.RUNNING, create_time=datetime(2026, 1, 1, tzinfo=UTC), next_sequence=3)
STARTED = ModelStarted(model="m", backend="b")
FINISHED = ModelFinished(reason=FinishReason.STOP)


class Store:
    """A `Writer` whose store acknowledges when it is told to."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Batch] = asyncio.Queue()
        self.acknowledge: asyncio.Queue[bool | Exception] = asyncio.Queue()

    async def append(self, batch: Batch) -> bool:
        await self.batches.put(batch)
        answer = await self.acknowledge.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def require_action(self, batch: Batch, asked: Sequence[CallRecord], *, seconds: float) -> None:
        await self.batches.put(batch)

    async def finish(self, batch: Batch, finished: RunFinished) -> None:
        await self.batches.put(batch)

    def given(self) -> list[Batch]:
        """Give what has come since the last time."""
        return [self.batches.get_nowait() for _ in range(self.batches.qsize())]

    async def written(self) -> Batch:
        """Acknowledge the next batch and give it."""
        async with asyncio.timeout(10):
            batch = await self.batches.get()
        await self.acknowledge.put(False)
        return batch


@pytest.fixture
def store() -> Store:
    return Store()


@asynccontextmanager
async def writing(journal: Journal) -> AsyncIterator[None]:
    helper = asyncio.create_task(journal.write_pending())
    try:
        yield
    finally:
        helper.cancel()
        await asyncio.gather(helper, return_exceptions=True)


async def test_what_comes_while_a_write_is_under_way_goes_with_the_next(store: Store) -> None:
    journal = Journal(store, RUN)
    async with writing(journal):
        await journal.emit(TextDelta(text="a"))
        first = await store.batches.get()
        for text in "bcd":
            await journal.emit(TextDelta(text=text))
        await store.acknowledge.put(False)
        second = await store.written()

    assert (first.first_sequence, len(first.events)) == (3, 1)
    assert (second.first_sequence, len(second.events)) == (4, 3)


async def test_the_beginning_of_an_answer_is_in_a_hurry_and_its_middle_is_not(store: Store) -> None:
    journal = Journal(store, RUN)
    async with writing(journal):
        found = []
        for body in (STARTED, TextDelta(text="a"), TextDelta(text="b"), FINISHED, STARTED, TextDelta(text="c")):
            await journal.emit(body)
            found.append((await store.written()).patient)
        waiting = asyncio.create_task(journal.commit(items=[NewItem(message=message(Role.ASSISTANT, "ab"))]))
        found.append((await store.written()).patient)
        await waiting

    assert found == [False, False, True, True, False, False, False]


async def test_a_model_is_made_to_wait_for_a_slow_store(store: Store) -> None:
    journal = Journal(store, RUN)
    async with writing(journal):
        await journal.emit(TextDelta(text=""))
        await store.batches.get()
        for _ in range(256):
            await journal.emit(TextDelta(text=""))
        waiting = asyncio.create_task(journal.emit(TextDelta(text="last")))
        await asyncio.sleep(0)
        assert not waiting.done()

        await store.acknowledge.put(False)
        assert len((await store.written()).events) == 256
        await waiting
        assert len((await store.written()).events) == 1


async def test_a_write_that_has_begun_is_ended_when_the_journal_is_stopped(store: Store) -> None:
    journal = Journal(store, RUN)
    async with writing(journal):
        await journal.emit(TextDelta(text="a"))
        await store.batches.get()
    ending = asyncio.create_task(journal.finish(RunFinished(state=RunState.CANCELLED)))
    await asyncio.sleep(0)
    assert store.batches.empty()
    await store.acknowledge.put(False)
    await ending

    assert store.batches.get_nowait().first_sequence == 4


async def test_a_refused_write_ends_the_writing(store: Store) -> None:
    journal = Journal(store, RUN)
    helper = asyncio.create_task(journal.write_pending())
    await journal.emit(TextDelta(text="a"))
    await store.acknowledge.put(StaleEpoch())

    with pytest.raises(StaleEpoch):
        await helper


async def _broken(store: Store, error: Exception) -> Journal:
    """Give a journal whose first write has failed, while something else waits."""
    journal = Journal(store, RUN)
    helper = asyncio.create_task(journal.write_pending())
    await journal.emit(TextDelta(text="a"))
    lost = await store.batches.get()
    await journal.emit(TextDelta(text="b"))
    await store.acknowledge.put(error)
    with pytest.raises(type(error)):
        await helper
    assert [each.body for each in lost.events] == [TextDelta(text="a")]
    assert journal.trouble is error
    return journal


@pytest.mark.parametrize("way", ["commit", "finish", "require_action"])
async def test_what_may_not_have_been_written_is_written_again_before_anything_else(store: Store, way: str) -> None:
    journal = await _broken(store, Unavailable())
    await store.acknowledge.put(False)
    await store.acknowledge.put(False)

    match way:
        case "commit":
            await journal.commit()
        case "finish":
            await journal.finish(RunFinished(state=RunState.FAILED))
        case _:
            await journal.require_action([], items=[], calls=[], seconds=1)

    first, second = store.given()
    assert (first.first_sequence, [each.body for each in first.events]) == (3, [TextDelta(text="a")])
    assert (second.first_sequence, [each.body for each in second.events]) == (4, [TextDelta(text="b")])
    assert journal.trouble is None


async def test_nothing_else_is_written_while_that_fails(store: Store) -> None:
    journal = await _broken(store, Unavailable())
    await store.acknowledge.put(Unavailable())

    with pytest.raises(Unavailable):
        await journal.finish(RunFinished(state=RunState.FAILED))

    assert [each.first_sequence for each in store.given()] == [3]


async def test_what_was_refused_for_good_is_not_written_again(store: Store) -> None:
    journal = await _broken(store, InvalidArgument())

    await journal.finish(RunFinished(state=RunState.FAILED))

    (last,) = store.given()
    assert (last.first_sequence, last.events) == (3, [])


async def test_a_request_to_stop_comes_with_an_acknowledgement(store: Store) -> None:
    journal = Journal(store, RUN)
    async with writing(journal):
        await journal.emit(TextDelta(text="a"))
        await store.acknowledge.put(True)
        async with asyncio.timeout(10):
            await journal.cancel_requested.wait()

    assert journal.writes == 1
