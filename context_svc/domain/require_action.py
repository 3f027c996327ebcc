"""Lets a run wait for persons: nobody writes to it until they have decided about its calls, or answered what tool
servers ask, or time is up.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from context_svc.domain.action import Action
from context_svc.domain.append_events import Write, appended, repeated
from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.ports import RunStore
from context_svc.domain.release import released
from context_svc.domain.run import Run, RunState
from threadmesh.errors import InvalidArgument


async def require_action(write: Write, actions: Sequence[Action], *, seconds: float, store: RunStore) -> Run:
    """Give the run after its writer's last write, waiting for decisions; both are stored together.

    It can be taken over once every action has a decision, or after `seconds`; the time that it waits is no part of what
    it may take. Repeating the request changes nothing.
    Raises as `append_events` does, and `InvalidArgument` for two actions about one call.
    """
    if len({action.call_id for action in actions}) < len(actions):
        raise InvalidArgument("A call can be asked about once.", field="actions")
    return await store.change(Scope(run_id=write.run_id), partial(_require, write, tuple(actions), seconds))


def _require(write: Write, actions: tuple[Action, ...], seconds: float, state: State) -> tuple[Change, Run]:
    if written := repeated(write, state):
        return NOTHING, written
    change, run = appended(write, state)
    before = {action: next(filter(action.same_question, run.actions), None) for action in actions}
    following = (action.after(former) if former else action for action, former in before.items())
    # What nobody answered in time is no question any more.
    kept = (each for each in run.actions if each.decision and each not in before.values())
    waiting = replace(
        run.prolonged(seconds),
        state=RunState.REQUIRES_ACTION,
        owner="",
        actions=(*kept, *following),
        lease_until=state.now.steady + seconds,
        wait_until=state.now.time + timedelta(seconds=seconds),
        waits=run.waits + 1,
    )
    thread = change.thread or released(state, waiting)
    return replace(change, runs=(waiting,), thread=thread), waiting
