"""Removes the beginning of one thread because somebody asks for it, whatever the rules say."""

from datetime import datetime

from context_svc.domain.forget_inputs import forget_inputs_of
from context_svc.domain.ports import Store
from context_svc.domain.retain import retain
from context_svc.domain.retention import Rule
from threadmesh.errors import InvalidArgument


async def prune_thread(thread_id: str, limits: Rule, *, now: datetime, store: Store, dry_run: bool) -> int:
    """Remove whole turns, the oldest first, as a rule with these limits would; gives how many items went.

    Open runs keep their items; input of runs that ended before their turn came goes as well. A `dry_run` removes
    nothing. Raises `ThreadNotFound`, and `InvalidArgument` without a limit and for one that would remove the whole
    thread: that is said by deleting it.
    """
    if limits.max_idle:
        raise InvalidArgument("A thread goes whole by deleting it.", field="limits.max_idle")
    if limits.max_age is None and limits.max_items is None and limits.max_tokens is None:
        raise InvalidArgument("Say how much is to stay: by max_age, max_items or max_tokens.", field="limits")
    removal = await retain(await store.thread(thread_id), limits, now=now, store=store, dry_run=dry_run)
    if not dry_run:
        await forget_inputs_of(thread_id, store=store)
    return removal.items if removal else 0
