"""Lists threads by their use, in pages of those that are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from context_svc.domain.ports import Cursor, ThreadStore
from context_svc.domain.thread import Thread
from threadmesh.errors import ThreadNotFound

_MOST_READ = 2_000
"""Threads that one page looks at, whether they are wanted or not."""
_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Says which threads are wanted: those of a `tenant` whose key begins so and that have this among their metadata.

    The latest used stand first, or the earliest if `ascending`.
    """

    key_prefix: str = ""
    tenant: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Threads, and where the next page begins if there may be more; a page with few may have a next one."""

    threads: tuple[Thread, ...]
    next: Cursor | None


async def list_threads(wanted: Wanted, *, after: Cursor | None, limit: int, store: ThreadStore) -> Page:
    """Give the first `limit` threads behind a place, fewer where more than some thousands had to be passed over."""
    found: list[Thread] = []
    seen = 0
    while True:
        at_once = limit + 1 if not wanted.metadata else _AT_ONCE
        read = await store.threads(
            key_prefix=wanted.key_prefix,
            after=after,
            limit=at_once,
            tenant=wanted.tenant,
            ascending=wanted.ascending,
        )
        for thread in read:
            if len(found) == limit:
                return Page(threads=tuple(found), next=after)
            after = _place(thread)
            if wanted.metadata.items() <= thread.metadata.items():
                found.append(thread)
        seen += len(read)
        if len(read) < at_once:
            return Page(threads=tuple(found), next=None)
        if seen >= _MOST_READ:
            return Page(threads=tuple(found), next=after)


async def place_of(thread_id: str, *, tenant: str | None, store: ThreadStore) -> Cursor:
    """Give the place of a thread in lists. Raises `ThreadNotFound`, also for a thread of somebody else."""
    thread = await store.thread(thread_id)
    if tenant not in {None, thread.tenant}:
        raise ThreadNotFound
    return _place(thread)


def _place(thread: Thread) -> Cursor:
    return Cursor(time=thread.update_time, id=thread.id)
