"""Finds the thread of a key without making one."""

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.ports import ThreadStore
from context_svc.domain.thread import Thread


async def find(key: str, *, store: ThreadStore, tenant: str = "") -> Thread | None:
    """Give the tenant's thread of `key`; None if there is none."""
    return await store.change(Scope(thread_key=key, tenant=tenant), _found)


def _found(state: State) -> tuple[Change, Thread | None]:
    return NOTHING, state.thread
