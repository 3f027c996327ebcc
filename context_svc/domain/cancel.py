"""Asks a run to stop, or ends it at once when nobody writes to it."""

from dataclasses import replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Moment, Scope, State
from context_svc.domain.lease import free, held
from context_svc.domain.ports import RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunFinished, RunState
from threadmesh.conversation import Failure
from threadmesh.errors import Cancelled


async def cancel(run_id: str, *, store: RunStore) -> Run:
    """Give the run as it is after the request; it may still be RUNNING until its writer has stopped.

    One that has asked persons gets a writer once more, who ends its calls and tells servers that nobody answers.
    Cancelling a run that has ended changes nothing. Raises `RunNotFound`.
    """
    return await store.change(Scope(run_id=run_id), partial(_cancel))


def stopped(run: Run, now: Moment) -> Run:
    """Give an open run with a request to stop for its writer, or ended when it has none."""
    if run.state is RunState.RUNNING and held(run, now):
        return replace(run, cancel_requested=True)
    if run.has_asked:
        return replace(free(run, now), cancel_requested=True, owner="")
    failure = Failure.of(Cancelled())
    return run.ended(RunFinished(state=RunState.CANCELLED, failure=failure), now.time)


def _cancel(state: State) -> tuple[Change, Run]:
    run = state.existing_run()
    if run.finished or (run.cancel_requested and (run.has_asked or held(run, state.now))):
        return NOTHING, run
    after = stopped(run, state.now)
    return Change(thread=released(state, after), runs=(after,)), after
