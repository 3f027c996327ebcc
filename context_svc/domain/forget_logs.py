"""Forgets the events and calls of runs; the runs stay with their end, and the thread with its items."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.ports import RunStore
from threadmesh.errors import MeshError

_AT_ONCE = 16
"""Logs that go with one commit: few enough that no writer waits for long."""


async def forget_ended_logs(*, before: datetime, store: RunStore) -> int:
    """Forget the logs of the runs that ended before a date; gives their number."""
    forgotten = 0
    while names := await store.ended_logs(before=before, limit=_AT_ONCE):
        forgotten += await forget_logs(names, store=store)
    return forgotten


async def forget_logs(run_ids: Iterable[str], *, store: RunStore) -> int:
    """Forget the logs of these runs, as far as they have ended; gives the number of logs that there were.

    Raises the first `MeshError` that the store gave in place of an outcome.
    """
    names = list(run_ids)
    forgotten = 0
    for first in range(0, len(names), _AT_ONCE):
        # Each with its thread, as whoever deletes that has it: so neither waits for the other in a circle.
        wanted = [(Scope(run_id=name), _forget) for name in names[first : first + _AT_ONCE]]
        for outcome in await store.change_each(wanted):
            if isinstance(outcome, MeshError):
                raise outcome
            forgotten += outcome
    return forgotten


def _forget(state: State) -> tuple[Change, bool]:
    run = state.run
    if run is None or not run.finished or run.first_sequence >= run.next_sequence - 1:
        return NOTHING, False
    return Change(runs=(replace(run, first_sequence=run.next_sequence - 1),)), True
