"""Which thread, and which of its items, a request means."""

import re

from facade.domain.threads import Thread, Threads
from facade.edge.conversations import pages
from threadmesh.errors import ThreadNotFound

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


async def find(threads: Threads, thread_id: str, *, tenant: str) -> Thread:
    """Give a thread; one that goes with a request's log is none. Raises `ThreadNotFound`."""
    thread = await threads.thread(thread_id, tenant=tenant)
    if thread.ephemeral:
        raise ThreadNotFound
    return thread


async def number_of(threads: Threads, thread: Thread, item: str) -> int:
    """Give the number of an item, named by it or as conversations name items. Raises `NotFound`."""
    if _NUMBER.fullmatch(item):
        return int(item)
    entry, _ = await pages.item(threads, thread, item)
    return entry.sequence
