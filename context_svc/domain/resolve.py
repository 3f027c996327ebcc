"""Finds the thread of a key, or makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.ports import ThreadStore
from context_svc.domain.quota import require_room
from context_svc.domain.thread import Thread, new_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The thread of a key, and whether it was made just now."""

    thread: Thread
    created: bool


async def resolve(
    key: str, *, metadata: Mapping[str, str], store: ThreadStore, tenant: str = "", limit: int = 0
) -> Resolved:
    """Give the tenant's thread of `key`; of many at once who ask for a new one, all get the same.

    Raises `InsufficientQuota` instead of making one where the tenant has stored `limit` bytes; 0 is no limit.
    """
    scope = Scope(thread_key=key, tenant=tenant, measured=bool(limit))
    return await store.change(scope, partial(_resolve, key, metadata, tenant, limit))


def _resolve(key: str, metadata: Mapping[str, str], tenant: str, limit: int, state: State) -> tuple[Change, Resolved]:
    if state.thread:
        return NOTHING, Resolved(thread=state.thread, created=False)
    require_room(state, limit)
    thread = new_thread(state.now.time, key=key, metadata=metadata, tenant=tenant)
    return Change(thread=thread), Resolved(thread=thread, created=True)
