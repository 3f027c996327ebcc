"""What all words of persons about a run's calls have in common: whose they are, and when the run goes on."""

from dataclasses import replace

from context_svc.domain.action import Action, Decision
from context_svc.domain.call import Call
from context_svc.domain.change import State
from context_svc.domain.lease import free
from context_svc.domain.ports import RunStore
from context_svc.domain.run import Run, RunState
from threadmesh.errors import CallNotFound


async def call_of(run_id: str, call_id: str, store: RunStore) -> Call:
    """Give a call of a run; raises `RunNotFound` and `CallNotFound`."""
    await store.run(run_id)
    call = next((each for each in await store.calls(run_id) if each.id == call_id), None)
    if call is None:
        raise CallNotFound(call=call_id)
    return call


def waits(run: Run, state: State) -> bool:
    """Whether the run still waits for persons."""
    return run.state is RunState.REQUIRES_ACTION and state.now.steady < run.lease_until


def gone_on(run: Run, action: Action, decision: Decision, state: State) -> Run:
    """Give the run with a decision about one of its actions; it can be gone on with once all of them have one."""
    actions = tuple(replace(each, decision=decision) if each is action else each for each in run.actions)
    after = replace(run, actions=actions)
    if any(each.decision is None for each in actions):
        return after
    return free(after, state.now)
