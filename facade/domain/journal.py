"""The writer's side of a run's log. Nothing is shown to anybody before it is durable here."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from facade.domain.events import Body, Delta, Run, RunEvent, RunFinished
from facade.domain.ports import Writer
from facade.domain.records import Batch, CallRecord, NewItem
from threadmesh.errors import MeshError

_PENDING_EVENTS = 256
"""Events that may wait for the store before the model is made to wait."""


class Journal:
    """Writes a run's events, items and calls, numbering the events.

    Events that are only `emit`ted travel together: a write starts at once when none is under way, else as soon as the
    one under way is acknowledged. So a slow store gets larger batches. Writes in the middle of an answer are patient;
    the first token is never held back, nor is anything that somebody waits for.

    A write that has failed may have been done nevertheless. It is repeated as it was before there is another one: what
    came behind it would else stand in its place.
    """

    def __init__(self, writer: Writer, run: Run) -> None:
        self._writer = writer
        self._run = run
        self._next = run.next_sequence
        self._pending: list[RunEvent] = []
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._writing = asyncio.Lock()
        self._closed = False
        self._flowing = False
        self._unsure: Batch | None = None
        self.trouble: MeshError | None = None
        """Why the last write has failed; None if it was acknowledged."""
        self.said: list[NewItem] = []
        """What was added to the thread between the rounds of the model."""
        self.writes = 0
        """Counts the acknowledged writes: each of them renewed the run's lease."""
        self.cancel_requested = asyncio.Event()

    @property
    def run(self) -> Run:
        """The run that is written to."""
        return self._run

    async def emit(
        self, body: Body, *, in_round: int = 0, choice: int = 0, call_id: str = "", hidden: bool = False
    ) -> None:
        """Add an event; it becomes durable soon, in order. Waits only while too many are pending."""
        while len(self._pending) >= _PENDING_EVENTS:
            self._room.clear()
            await self._room.wait()
        event = RunEvent(sequence=0, round=in_round, choice=choice, call_id=call_id, hidden=hidden, body=body)
        self._pending.append(event)
        self._work.set()

    async def commit(self, *, items: Sequence[NewItem] = (), calls: Sequence[CallRecord] = ()) -> None:
        """Write everything pending together with items and calls, and return when it is durable.

        A cancellation comes through only when the write has ended: what has begun is known to be durable.
        """
        await _to_its_end(self._commit(items, calls))

    async def _commit(self, items: Sequence[NewItem], calls: Sequence[CallRecord]) -> None:
        async with self._writing:
            await self._repeat()
            batch = self._batch(self._take(), items, calls)
            if batch.events or items or calls:
                await self._append(batch)
                self.said += items

    async def require_action(
        self, asked: Sequence[CallRecord], *, items: Sequence[NewItem], calls: Sequence[CallRecord], seconds: float
    ) -> None:
        """Write what is pending with items and calls, and give the run up until persons have spoken."""
        async with self._writing:
            await self._repeat()
            batch = self._batch(self._take(), items, calls)
            with self._noticing(batch):
                await self._writer.require_action(batch, asked, seconds=seconds)
            self._next += len(batch.events)

    async def finish(self, finished: RunFinished, *, items: Sequence[NewItem] = ()) -> None:
        """Write what is pending, the last items and the terminal event, and return when they are durable.

        A cancellation comes through only then: nobody else ends a run whose end was about to be written.
        """
        await _to_its_end(self._finish(finished, items))

    async def _finish(self, finished: RunFinished, items: Sequence[NewItem]) -> None:
        async with self._writing:
            await self._repeat()
            batch = self._batch(self._take(), items)
            await self._writer.finish(batch, finished)
            self._next += len(batch.events) + 1

    async def write_pending(self) -> None:
        """Write emitted events as they come, until cancelled; a write that has begun is always ended."""
        writing = asyncio.ensure_future(self._write_until_closed())
        try:
            await asyncio.shield(writing)
        finally:
            self._closed = True
            self._work.set()

    async def _write_until_closed(self) -> None:
        while not self._closed:
            await self._work.wait()
            self._work.clear()
            async with self._writing:
                await self._repeat()
                if self._pending:
                    await self._append(self._batch(self._take(), patient=self._flowing))

    async def _repeat(self) -> None:
        if self._unsure is not None:
            await self._append(self._unsure)

    async def _append(self, batch: Batch) -> None:
        self._flowing = isinstance(batch.events[-1].body, Delta) if batch.events else False
        with self._noticing(batch):
            cancel_requested = await self._writer.append(batch)
        if cancel_requested:
            self.cancel_requested.set()
        self._next += len(batch.events)
        self.writes += 1
        self._room.set()

    @contextmanager
    def _noticing(self, batch: Batch) -> Iterator[None]:
        """Notice whether a batch is written; of one that is refused for good nothing may follow but the end."""
        try:
            yield
        except MeshError as error:
            self.trouble = error
            self._unsure = batch if error.retryable else None
            if not error.retryable:
                self._pending.clear()
            raise
        self.trouble = self._unsure = None

    def _take(self) -> list[RunEvent]:
        events, self._pending = self._pending, []
        return events

    def _batch(
        self,
        events: Sequence[RunEvent],
        items: Sequence[NewItem] = (),
        calls: Sequence[CallRecord] = (),
        *,
        patient: bool = False,
    ) -> Batch:
        return Batch(
            run_id=self._run.id,
            epoch=self._run.epoch,
            first_sequence=self._next,
            events=events,
            items=items,
            calls=calls,
            patient=patient,
        )


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do work that is not to be broken off; a cancellation is raised behind it."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise
