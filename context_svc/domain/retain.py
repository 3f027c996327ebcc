"""Applies retention rules: removes whole turns from the beginning of threads, and threads that are no longer used."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.forget_logs import forget_logs
from context_svc.domain.old_turns import Turn, old_turns
from context_svc.domain.ports import Cursor, Store
from context_svc.domain.retention import Rule, rule_for
from context_svc.domain.run import RunState
from context_svc.domain.summary import covered
from context_svc.domain.thread import Thread
from threadmesh.errors import PreconditionFailed, RunNotFound

_THREADS = 100
_ITEMS = 200
"""Items that go with one commit, or a whole turn where that is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a rule removed, or would remove, of a thread: so many items, or the whole thread."""

    thread: Thread
    rule: Rule
    items: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A page of threads that were looked at: what was removed, and where the next page begins if there is one."""

    removals: tuple[Removal, ...]
    next: Cursor | None


async def sweep(
    rules: Sequence[Rule],
    *,
    now: datetime,
    after: Cursor | None,
    store: Store,
    since: datetime | None = None,
    dry_run: bool = False,
) -> Sweep:
    """Apply the rules to a page of threads behind `after`, the latest used first, down to those last used at `since`.

    A `dry_run` removes nothing. Open runs keep their items; what cannot go now is left for the next sweep.
    """
    page = await store.threads(key_prefix="", after=after, limit=_THREADS)
    used = [thread for thread in page if since is None or thread.update_time >= since]
    ruled = [(thread, rule) for thread in used if (rule := rule_for(thread.key, rules))]
    removals = [await retain(thread, rule, now=now, store=store, dry_run=dry_run) for thread, rule in ruled]
    last = used[-1] if len(used) == _THREADS else None
    return Sweep(
        removals=tuple(removal for removal in removals if removal),
        next=Cursor(time=last.update_time, id=last.id) if last else None,
    )


async def prune_threads(
    rules: Sequence[Rule], *, now: datetime, after: Cursor | None, store: Store, dry_run: bool
) -> Sweep:
    """Apply the rules to a page of all threads; after the last page the store holds no trace of what went.

    Raises `PreconditionFailed` when there are no rules.
    """
    if not rules:
        raise PreconditionFailed("There are no retention rules; set CONTEXT_RETENTION for context_svc.")
    swept = await sweep(rules, now=now, after=after, store=store, dry_run=dry_run)
    if swept.next is None and not dry_run:
        await store.forget_receipts(before=now)
    return swept


async def retain(thread: Thread, rule: Rule, *, now: datetime, store: Store, dry_run: bool) -> Removal | None:
    """Remove what the rule does not keep of a thread, in steps that each are whole; None when it keeps everything."""
    idle = bool(rule.max_idle and thread.update_time < now - rule.max_idle and not thread.active_run_id)
    limit = await _first_open_item(thread, store)
    if rule.only_summarized and not idle:
        limit = min(limit, await _first_not_summarized(thread, store))
    items = 0
    async with aclosing(old_turns(thread, rule, now=now, everything=idle, store=store)) as turns:
        async for step in _steps(turns, limit=limit):
            if not dry_run and not await _prune(thread, step, store=store):
                break
            items += sum(turn.items for turn in step)
    if idle and not dry_run:
        idle = await store.change(Scope(thread_id=thread.id), partial(_delete_unused, thread))
    return Removal(thread=thread, rule=rule, items=items, whole=idle) if items or idle else None


async def _first_open_item(thread: Thread, store: Store) -> int:
    """Number the item from which on the thread belongs to its active run."""
    if not thread.active_run_id:
        return thread.item_count
    try:
        return (await store.run(thread.active_run_id)).first_item
    except RunNotFound:  # deleted since with its thread
        return 0


async def _first_not_summarized(thread: Thread, store: Store) -> int:
    """Number the item from which on nothing stands for what is said."""
    if thread.summary is None:
        return 0
    after = thread.summary - 1 if thread.summary else None
    page = await store.items(thread.id, after=after, limit=1, descending=False)
    return next((covered(item).last + 1 for item in page if item.sequence == thread.summary), 0)


async def _steps(turns: AsyncGenerator[Turn, None], *, limit: int) -> AsyncGenerator[list[Turn], None]:
    step: list[Turn] = []
    async for turn in turns:
        if turn.end > limit:
            break
        step.append(turn)
        if sum(each.items for each in step) >= _ITEMS:
            yield step
            step = []
    if step:
        yield step


async def _prune(thread: Thread, step: Sequence[Turn], *, store: Store) -> bool:
    """Remove turns with what the logs of their runs hold of them. The logs go first: the items name them until then."""
    runs = {run_id: None for turn in step for run_id in turn.runs if run_id != step[-1].next_run}
    await forget_logs(runs, store=store)
    pruned = range(step[0].start, step[-1].end)
    return await store.change(Scope(thread_id=thread.id), partial(_pruned, thread, pruned))


def _pruned(seen: Thread, pruned: range, state: State) -> tuple[Change, bool]:
    """Look again within the transaction: somebody may have deleted, pruned, or continued the last turn since."""
    thread = state.thread
    if thread is None or thread.first_item > pruned.start:
        return NOTHING, False
    at_end = pruned.stop >= seen.item_count
    if at_end and (state.open_runs or thread.item_count != seen.item_count):
        return NOTHING, False
    if any(run.first_item < pruned.stop for run in state.open_runs if run.state is not RunState.QUEUED):
        return NOTHING, False
    return Change(thread=replace(thread, first_item=pruned.stop), pruned=thread.around_pinned(pruned)), True


def _delete_unused(seen: Thread, state: State) -> tuple[Change, bool]:
    thread = state.thread
    if thread is None or state.open_runs or thread.update_time != seen.update_time:
        return NOTHING, False
    return Change(deleted=thread.id), True
