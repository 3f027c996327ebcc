"""Writes to a run: events, items and calls in one transaction, fenced by the writer's epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from context_svc.domain.call import Call
from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.item import NewItem, numbered
from context_svc.domain.lease import renewed, written_by
from context_svc.domain.ports import Decide, RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Batch, Run, RunFinished
from context_svc.domain.thread import Thread
from threadmesh.errors import MeshError, SequenceMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What a writer adds to its run: event bodies numbered from `first_sequence`, items for the thread, calls, an end.

    `digest` is equal for two requests exactly when they are the same.
    """

    run_id: str
    epoch: int
    first_sequence: int
    digest: str
    bodies: tuple[bytes, ...] = ()
    items: tuple[NewItem, ...] = ()
    calls: tuple[Call, ...] = ()
    finished: RunFinished | None = None


async def append_events(write: Write, *, store: RunStore) -> Run:
    """Give the run after the write, its lease renewed. Repeating the last write changes nothing and gives the same.

    With an end the run is in its final state: its last events and items, its terminal event and its state are stored in
    one transaction, and the thread's next run may be claimed at once.

    Raises `RunNotFound`, `StaleEpoch`, `RunAlreadyFinished`, and `SequenceMismatch` with the number the log expects.
    """
    return await store.change(*_appending(write))


async def append_to_runs(writes: Sequence[Write | MeshError], *, store: RunStore) -> list[Run | MeshError]:
    """Do several writes at the price of one; gives for each the run or why it was refused, as `append_events` does.

    An error in place of a write is given as it is.
    """
    outcomes = iter(await store.change_each([_appending(write) for write in writes if isinstance(write, Write)]))
    return [next(outcomes) if isinstance(write, Write) else write for write in writes]


def _appending(write: Write) -> tuple[Scope, Decide[Run]]:
    if write.finished is not None:
        return Scope(run_id=write.run_id), partial(_finish, write, write.finished)
    return Scope(run_id=write.run_id, only_run=not write.items), partial(_append, write)


def appended(write: Write, state: State) -> tuple[Change, Run]:
    """Decide on a write that is no repetition."""
    run = _written(write, state)
    thread = _lengthened(state.existing_thread(), write, state) if write.items else None
    return _change(write, state, run, thread), run


def repeated(write: Write, state: State) -> Run | None:
    """Give the run if this was its last write."""
    run = state.existing_run()
    return run if run.epoch == write.epoch and run.last_write == write.digest else None


def _append(write: Write, state: State) -> tuple[Change, Run]:
    before = repeated(write, state)
    if before and not before.finished:
        return NOTHING, before
    return appended(write, state)


def _finish(write: Write, finished: RunFinished, state: State) -> tuple[Change, Run]:
    if before := repeated(write, state):
        return NOTHING, before
    run = _written(write, state).ended(finished, state.now.time)
    thread = _lengthened(released(state, run), write, state)
    return _change(write, state, run, thread), run


def _written(write: Write, state: State) -> Run:
    run = written_by(write.epoch, state)
    if write.first_sequence != run.next_sequence:
        raise SequenceMismatch(expected=run.next_sequence, given=write.first_sequence)
    return renewed(run, state.now, next_sequence=run.next_sequence + len(write.bodies), last_write=write.digest)


def _lengthened(thread: Thread, write: Write, state: State) -> Thread:
    return replace(thread, item_count=thread.item_count + len(write.items), update_time=state.now.time)


def _change(write: Write, state: State, run: Run, thread: Thread | None) -> Change:
    now = state.now.time
    first_item = state.existing_thread().item_count if write.items else 0
    events = Batch(
        run_id=run.id,
        epoch=run.epoch,
        first_sequence=write.first_sequence,
        create_time=now,
        bodies=write.bodies,
    )
    return Change(
        thread=thread,
        runs=(run,),
        items=numbered(write.items, thread_id=run.thread_id, first=first_item, now=now, run_id=run.id),
        events=events if write.bodies else None,
        calls=write.calls,
    )
