"""Who may write to a run, and until when. Seconds are the store's steady ones; no worker's clock is asked."""

from dataclasses import replace
from typing import Any

from context_svc.domain.change import Moment, State
from context_svc.domain.run import Run, RunState
from threadmesh.errors import RunAlreadyFinished, StaleEpoch

LEASE_SECONDS = 5.0
"""How long a claim lasts without a sign of life."""

ABANDONED_SECONDS = 4.0
"""How long after its lease a run waits for another writer before it is given up: less than ten seconds in all."""


GIVEN_UP_SECONDS = 60.0
"""How long a run waits that its writer has given up in order, or about which persons have decided: nobody is dead then,
and whoever restarts all that answers runs comes back to it. So does one that is to stop and whose writer has to say so.
"""


def held(run: Run, now: Moment) -> bool:
    """Say whether somebody has the run's lease."""
    return now.steady < run.lease_until


def renewed(run: Run, now: Moment, **changes: Any) -> Run:
    """Give the run with its lease extended, and with other changes of its fields."""
    return replace(run, lease_until=now.steady + LEASE_SECONDS, **changes)


def free(run: Run, now: Moment) -> Run:
    """Give a run that has begun as one that can be taken over now; its time is not longer by what it did not wait."""
    unused = max(0.0, run.lease_until - now.steady) if run.state is RunState.REQUIRES_ACTION else 0.0
    return replace(run.prolonged(-unused), state=RunState.RUNNING, lease_until=now.steady, wait_until=None)


def abandoned(run: Run, now: Moment) -> bool:
    """Say whether the run's writer, or whoever waited to become it, has been gone for too long."""
    given_up = run.state is not RunState.QUEUED and not run.owner
    return now.steady >= run.lease_until + (GIVEN_UP_SECONDS if given_up else ABANDONED_SECONDS)


def written_by(epoch: int, state: State) -> Run:
    """Give the run if `epoch` is its writer's, else raise `StaleEpoch`; an ended run raises `RunAlreadyFinished`."""
    run = state.existing_run()
    if epoch != run.epoch or run.epoch == 0:
        raise StaleEpoch(epoch=run.epoch)
    if run.finished:
        raise RunAlreadyFinished(state=run.state.value)
    return run
