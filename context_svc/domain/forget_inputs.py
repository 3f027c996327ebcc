"""Forgets input that never entered its thread, since its run has ended before."""

from collections.abc import Iterable
from datetime import datetime

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.ports import Cursor, RunStore
from context_svc.domain.run import Run, RunState
from threadmesh.errors import MeshError

_AT_ONCE = 16
"""Runs whose input goes with one commit: few enough that no writer waits for long."""
_UNANSWERED = (RunState.FAILED, RunState.CANCELLED)


async def forget_ended_inputs(*, before: datetime, store: RunStore) -> int:
    """Forget the input of the runs that ended before a date without having begun; gives the number of runs."""
    forgotten = 0
    while names := await store.ended_inputs(before=before, limit=_AT_ONCE):
        forgotten += await _forget_inputs(names, store=store)
    return forgotten


async def forget_inputs_of(thread_id: str, *, store: RunStore) -> None:
    """Forget the input of all runs of a thread that ended without having begun."""
    after: Cursor | None = None
    while page := await store.runs(thread_id=thread_id, states=_UNANSWERED, after=after, limit=_AT_ONCE):
        await _forget_inputs([run.id for run in page if _never_began(run)], store=store)
        after = Cursor(time=page[-1].create_time, id=page[-1].id)


async def _forget_inputs(run_ids: Iterable[str], *, store: RunStore) -> int:
    """Raises the first `MeshError` that the store gave in place of an outcome."""
    wanted = [(Scope(run_id=name), _forget) for name in run_ids]
    forgotten = 0
    for outcome in await store.change_each(wanted) if wanted else ():
        if isinstance(outcome, MeshError):
            raise outcome
        forgotten += outcome
    return forgotten


def _forget(state: State) -> tuple[Change, bool]:
    run = state.run
    if run is None or not _never_began(run):
        return NOTHING, False
    return Change(thread=state.existing_thread(), dropped=run.id), True


def _never_began(run: Run) -> bool:
    return run.finished is not None and not run.epoch
