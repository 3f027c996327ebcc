"""Makes somebody the only writer of a run, in the thread's order, for the length of a lease."""

from dataclasses import replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.expire import given_up
from context_svc.domain.lease import LEASE_SECONDS, abandoned, held, renewed, written_by
from context_svc.domain.ports import RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunState
from threadmesh.clock import Clock
from threadmesh.errors import RunAlreadyFinished, ThreadBusy

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiting claim looks by itself; a hint usually comes first."""


async def claim(run_id: str, *, owner: str, patience: float, store: RunStore, clock: Clock) -> Run:
    """Give the run with the epoch that the owner's writes must carry, once it is the owner's turn.

    The first claim moves the run's input into the thread. A run whose writer let its lease run out is taken over.
    Raises `ThreadBusy` when `patience` seconds were not enough, `RunNotFound` and `RunAlreadyFinished`.
    """
    ends = clock.monotonic() + patience
    thread_id = (await store.run(run_id)).thread_id
    with store.changes(thread_id) as changes:
        while True:
            claimed = await store.change(Scope(run_id=run_id), partial(_claim, owner))
            if claimed:
                return claimed
            left = ends - clock.monotonic()
            if left <= 0:
                raise ThreadBusy
            await changes.wait(min(left, LOOK_AGAIN_SECONDS))


async def renew(run_id: str, *, epoch: int, store: RunStore) -> Run:
    """Give the run with its lease extended; raises `StaleEpoch`, `RunNotFound` and `RunAlreadyFinished`."""
    return await store.change(Scope(run_id=run_id), partial(_renew, epoch))


def _claim(owner: str, state: State) -> tuple[Change, Run | None]:
    run = state.existing_run()
    if run.finished:
        raise RunAlreadyFinished(state=run.state.value)
    ahead = [each for each in state.open_runs if each.number < run.number]
    lost = tuple(given_up(each, state.now) for each in ahead if abandoned(each, state.now))
    written = run.state is not RunState.QUEUED and held(run, state.now)
    if written or len(lost) < len(ahead):
        return _wait(run, lost, state), None
    return take(run, lost, owner, state)


def _wait(run: Run, lost: tuple[Run, ...], state: State) -> Change:
    """While somebody waits to claim a queued run, it is not abandoned."""
    shown = renewed(run, state.now)
    dwindling = run.state is RunState.QUEUED and shown.lease_until - run.lease_until > LEASE_SECONDS / 2
    runs = (*lost, shown) if dwindling else lost
    return Change(thread=released(state, *runs) if lost else None, runs=runs) if runs else NOTHING


def take(run: Run, lost: tuple[Run, ...], owner: str, state: State) -> tuple[Change, Run]:
    """Make the owner the run's writer, with the next epoch; `lost` are runs before it that end with this change."""
    taken = replace(renewed(run, state.now), epoch=run.epoch + 1, owner=owner, wait_until=None)
    if run.state is not RunState.QUEUED:
        taken = replace(taken, state=RunState.RUNNING)
        return Change(thread=released(state, *lost, taken), runs=(*lost, taken)), taken
    end = state.existing_thread().item_count
    taken = replace(taken, state=RunState.RUNNING, first_item=end)
    thread = replace(released(state, *lost, taken), item_count=end + taken.input_count)
    return Change(thread=thread, runs=(*lost, taken), admitted=taken.id), taken


def _renew(epoch: int, state: State) -> tuple[Change, Run]:
    run = renewed(written_by(epoch, state), state.now)
    return Change(runs=(run,)), run
