"""Lets a run go on whose writer is gone: one that died, or one that handed it over."""

import asyncio
from dataclasses import replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.claim import LOOK_AGAIN_SECONDS, take
from context_svc.domain.lease import held, renewed, written_by
from context_svc.domain.ports import HANDED_OVER, RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunFinished, RunState
from threadmesh.clock import Clock
from threadmesh.conversation import Failure
from threadmesh.errors import Aborted, Cancelled

MOST_WRITERS = 4
"""A run that loses so many of them is what kills them."""

_PAGE = 100


async def take_over(*, owner: str, patience: float, store: RunStore, clock: Clock) -> Run | None:
    """Give a run without a writer, with the epoch that the owner's writes must carry; None if `patience` seconds bring
    none.
    """
    ends = clock.monotonic() + patience
    with store.changes(HANDED_OVER) as changes:
        while True:
            if run := await _taken(owner, store):
                return run
            left = ends - clock.monotonic()
            if left <= 0:
                return None
            await changes.wait(min(left, LOOK_AGAIN_SECONDS))


async def hand_over(run_id: str, *, epoch: int, store: RunStore) -> Run:
    """Give the run without a writer; raises `StaleEpoch`, `RunNotFound` and `RunAlreadyFinished`."""
    return await store.change(Scope(run_id=run_id), partial(_hand_over, epoch))


async def _taken(owner: str, store: RunStore) -> Run | None:
    """Take a run; one whose taker has left meanwhile is given up at once, and not only when its lease has run out."""
    taking = asyncio.ensure_future(_first(owner, store))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        if run := await taking:
            await hand_over(run.id, epoch=run.epoch, store=store)
        raise


async def _first(owner: str, store: RunStore) -> Run | None:
    for run_id in await store.overdue(abandoned_after=0.0, limit=_PAGE):
        if run := await store.change(Scope(run_id=run_id), partial(_take_over, owner)):
            return run
    return None


def _take_over(owner: str, state: State) -> tuple[Change, Run | None]:
    """Look again within the transaction: since the search somebody may have finished or taken the run."""
    run, now = state.run, state.now
    if run is None or run.finished or held(run, now) or run.expires <= now.steady:
        return NOTHING, None
    stops = run.cancel_requested and not run.has_asked
    if stops or run.epoch - run.waits >= MOST_WRITERS:
        after = run.ended(_end(run), now.time)
        return Change(thread=released(state, after), runs=(after,)), None
    if any(each.number < run.number for each in state.open_runs):
        return Change(runs=(renewed(run, now),)), None  # whoever looks after it now lets it wait for its turn
    return take(run, (), owner, state)


def _end(run: Run) -> RunFinished:
    if run.cancel_requested:
        return RunFinished(state=RunState.CANCELLED, failure=Failure.of(Cancelled()))
    failure = Failure(
        reason="RECOVERY_ATTEMPTS_EXCEEDED",
        code=Aborted.code,
        message=f"{run.epoch} processes have died or been stopped while they answered this request; it is given up.",
        retryable=False,
    )
    return RunFinished(state=RunState.FAILED, failure=failure)


def _hand_over(epoch: int, state: State) -> tuple[Change, Run]:
    run = replace(written_by(epoch, state), owner="", lease_until=state.now.steady)
    return Change(thread=state.existing_thread(), runs=(run,)), run
