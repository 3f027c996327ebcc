"""Keeps a thread's word on who is writing to it true while its runs begin and end."""

from dataclasses import replace

from context_svc.domain.change import State
from context_svc.domain.run import Run
from context_svc.domain.thread import Thread


def released(state: State, *changed: Run) -> Thread:
    """Give the thread as it is once the changed runs are stored."""
    thread = state.existing_thread()
    return replace(thread, active_run_id=state.active_run_id(changed), update_time=state.now.time)
