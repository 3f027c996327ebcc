"""Which thread, and which of its items, a request means."""

import re

from facade.domain.ports import Context
from facade.domain.threads import Thread, Threads
from facade.edge.responses.entries import Entries
from threadmesh.errors import ThreadNotFound

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


async def find(threads: Threads, thread_id: str, *, tenant: str) -> Thread:
    """Give a thread; one that goes with a request's log is none. Raises `ThreadNotFound`."""
    thread = await threads.thread(thread_id, tenant=tenant)
    if thread.ephemeral:
        raise ThreadNotFound
    return thread


async def number_of(context: Context, threads: Threads, thread: Thread, item: str) -> int:
    """Give the number of an item, named by it or as conversations name items. Raises `NotFound`."""
    if _NUMBER.fullmatch(item):
        return int(item)
    entry, _ = await Entries(context, threads, thread).item(item)
    return entry.sequence
