"""Forgets what has served its purpose: threads of stateless requests and old receipts."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from context_svc.domain.delete import delete
from context_svc.domain.ports import ThreadStore
from threadmesh.errors import ThreadBusy, ThreadNotFound

EPHEMERAL_LIFETIME = timedelta(hours=24)
"""How long the log of a stateless request can still be replayed."""

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much was forgotten."""

    threads: int
    receipts: int


async def prune(now: datetime, *, store: ThreadStore) -> Pruned:
    """Forget ephemeral threads that were last used 24 hours ago, a page at a time, and receipts that have expired."""
    names = await store.idle_threads(before=now - EPHEMERAL_LIFETIME, limit=_PAGE)
    for name in names:
        with suppress(ThreadBusy, ThreadNotFound):  # somebody used or deleted it since
            await delete(name, store=store)
    return Pruned(threads=len(names), receipts=await store.forget_receipts(before=now))
