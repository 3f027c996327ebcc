"""Reads the input that waits until a run has its turn in its thread."""

from context_svc.domain.item import Item
from context_svc.domain.ports import RunStore
from context_svc.domain.run import Run, RunState

_MOST = 100
"""No thread has so many runs that wait."""

Waiting = list[tuple[Run, tuple[Item, ...]]]


async def waiting_input(run: Run, *, store: RunStore) -> Waiting:
    """Give the input of the runs that wait ahead of a run, in the order of their turns, and at last its own.

    A run that has ended before its turn came is shown behind those that were ahead of it and wait still. None is given
    where the run's own input is in the thread, or forgotten. What enters the thread meanwhile may be missing.
    """
    queued = await store.runs(thread_id=run.thread_id, states=(RunState.QUEUED,), after=None, limit=_MOST)
    ahead = sorted((each for each in queued if each.number < run.number), key=lambda each: each.number)
    found = [(each, await store.input(each.id)) for each in ahead]
    own = await store.input(run.id)
    return [*found, (run, own)] if own else []
