"""Forgets a thread with everything that belongs to it."""

from context_svc.domain.change import Change, Scope, State
from context_svc.domain.ports import ThreadStore
from threadmesh.errors import ThreadBusy


async def delete(thread_id: str, *, store: ThreadStore) -> None:
    """Forget a thread, its items, its runs and what was remembered of requests for it.

    Raises `ThreadNotFound`, and `ThreadBusy` while the thread has an open run.
    """
    await store.change(Scope(thread_id=thread_id), _delete)


def _delete(state: State) -> tuple[Change, None]:
    thread = state.existing_thread()
    if state.open_runs:
        raise ThreadBusy
    return Change(deleted=thread.id), None
