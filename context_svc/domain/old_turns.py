"""Finds the turns of a thread that a retention rule does not keep."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from context_svc.domain.item import Item
from context_svc.domain.ports import ThreadStore
from context_svc.domain.retention import Rule, stays
from context_svc.domain.thread import Thread
from context_svc.domain.tokens import tokens_of
from threadmesh.conversation import Role

_PAGE = 100


@dataclass(slots=True, kw_only=True)
class Turn:
    """A person's message and what followed, as numbers from `start` to before `end`, without what stays anyway.

    `runs` wrote its `items`; `next_run` wrote the item at `end` and is empty where there is none. `last_time` is when
    the last item was written.
    """

    start: int
    end: int
    last_time: datetime
    runs: set[str]
    items: int = 0
    next_run: str = ""


async def old_turns(
    thread: Thread, rule: Rule, *, now: datetime, everything: bool, store: ThreadStore
) -> AsyncGenerator[Turn, None]:
    """Yield the turns that must go, oldest first, without a hole between them; `everything` is all there are.

    Limits of size always keep the newest turn. The turn of an item that was written since `thread` was read is cut
    there, so look again before removing it.
    """
    kept_from = thread.item_count if everything else await _kept_by_size(thread, rule, store)
    oldest = now - rule.max_age if rule.max_age else None
    async with aclosing(_turns(thread, store)) as turns:
        async for turn in turns:
            if turn.end > kept_from and not (oldest and turn.last_time < oldest):
                return
            yield turn


async def _kept_by_size(thread: Thread, rule: Rule, store: ThreadStore) -> int:
    """Number the first item of the oldest turn that the limits of size keep; 0 when they keep all."""
    most = thread.item_count - thread.first_item
    if rule.max_tokens is None and (rule.max_items is None or most <= rule.max_items):
        return 0
    kept, items, tokens = 0, 0, 0
    async with aclosing(_items(thread, store, descending=True)) as found:
        async for item in found:
            items, tokens = items + 1, tokens + tokens_of(item)
            over = items > (rule.max_items or items) or tokens > (rule.max_tokens or tokens)
            if over and kept:
                return kept
            if item.message.role is Role.USER:
                kept = item.sequence
                if over:
                    return kept
    return 0


async def _turns(thread: Thread, store: ThreadStore) -> AsyncGenerator[Turn, None]:
    turn: Turn | None = None
    async with aclosing(_items(thread, store, descending=False)) as items:
        async for item in items:
            if turn and item.message.role is Role.USER:
                turn.end, turn.next_run = item.sequence, item.run_id
                yield turn
                turn = Turn(start=item.sequence, end=item.sequence, last_time=item.create_time, runs=set())
            turn = turn or Turn(start=thread.first_item, end=0, last_time=item.create_time, runs=set())
            turn.items += 1
            turn.last_time = item.create_time
            if item.run_id:
                turn.runs.add(item.run_id)
    if turn:
        turn.end = thread.item_count
        yield turn


async def _items(thread: Thread, store: ThreadStore, *, descending: bool) -> AsyncGenerator[Item, None]:
    """Yield the items that rules are about, as far as the thread reached when it was read."""
    after = thread.item_count if descending else thread.first_item - 1
    while True:
        place = None if after < 0 else after
        page = await store.items(thread.id, after=place, limit=_PAGE, descending=descending)
        for item in page:
            if item.sequence < thread.first_item or item.sequence >= thread.item_count:
                return
            if not stays(item) and item.sequence not in thread.pinned:
                yield item
        if len(page) < _PAGE:
            return
        after = page[-1].sequence
