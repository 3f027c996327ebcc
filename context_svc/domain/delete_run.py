"""Forgets a run, and of its thread what no other run has read."""

from dataclasses import replace

from context_svc.domain.change import Change, Scope, State
from context_svc.domain.ports import RunStore
from context_svc.domain.run import Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import ThreadBusy


async def delete_run(run_id: str, *, store: RunStore) -> None:
    """Forget the log and the calls of a run that has ended; nobody finds it any more.

    Its request's parameters go, too. What it has added to its thread goes only where it is the last run: later ones
    were told it. Raises `RunNotFound`, and `ThreadBusy` while the run is open.
    """
    await store.change(Scope(run_id=run_id), _delete)


def _delete(state: State) -> tuple[Change, None]:
    run, thread = state.existing_run(), state.existing_thread()
    if not run.finished:
        raise ThreadBusy
    last = run.next_sequence - 1
    gone = replace(run, state=RunState.DELETED, first_sequence=last, actions=(), parameters_json="")
    removed = _own(run, thread)
    pinned = tuple(number for number in thread.pinned if number not in removed)
    return Change(
        thread=replace(thread, pinned=pinned) if removed or not run.epoch else None,
        runs=(gone,),
        removed=removed,
        dropped="" if run.epoch else run.id,
    ), None


def _own(run: Run, thread: Thread) -> tuple[int, ...]:
    """Number the items that only this run has read and written."""
    is_told = run.number + 1 < thread.run_count
    is_retold = thread.summary is not None and thread.summary >= run.first_item
    return () if is_told or is_retold or not run.epoch else tuple(range(run.first_item, thread.item_count))
