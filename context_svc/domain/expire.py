"""Ends runs that nobody will ever finish, so that they never block their thread."""

from context_svc.domain.change import NOTHING, Change, Moment, Scope, State
from context_svc.domain.lease import ABANDONED_SECONDS, abandoned
from context_svc.domain.ports import RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunFinished, RunState
from threadmesh.conversation import Failure
from threadmesh.errors import Aborted, Cancelled, DeadlineExceeded

_PAGE = 100


async def expire(store: RunStore) -> tuple[Run, ...]:
    """End the runs that are past their deadline or were abandoned by their writer; gives them as they ended."""
    names = await store.overdue(abandoned_after=ABANDONED_SECONDS, limit=_PAGE)
    ended = [await store.change(Scope(run_id=name), _expire) for name in names]
    return tuple(run for run in ended if run)


def given_up(run: Run, now: Moment) -> Run:
    """Give an open run as it ends without its writer."""
    if run.cancel_requested:
        return run.ended(RunFinished(state=RunState.CANCELLED, failure=Failure.of(Cancelled())), now.time)
    failure = Failure(
        reason="RUN_ABANDONED",
        code=Aborted.code,
        message="The process that was answering is gone and no other has taken over; send the request again.",
        retryable=True,
    )
    return run.ended(RunFinished(state=RunState.FAILED, failure=failure), now.time)


def _expire(state: State) -> tuple[Change, Run | None]:
    """Look again within the transaction: since the search somebody may have finished or renewed the run."""
    run = state.run
    if run is None or run.finished:
        return NOTHING, None
    if run.expires <= state.now.steady:
        failure = Failure.of(DeadlineExceeded("The run took longer than it was allowed to."))
        after = run.ended(RunFinished(state=RunState.FAILED, failure=failure), state.now.time)
    elif abandoned(run, state.now):
        after = given_up(run, state.now)
    else:
        return NOTHING, None
    return Change(thread=released(state, after), runs=(after,)), after
