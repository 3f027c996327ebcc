"""Forgets an item of a thread, or a part of what it says."""

from dataclasses import replace
from functools import partial

from context_svc.domain.change import Change, Scope, State
from context_svc.domain.item import Item, ItemKind
from context_svc.domain.ports import ThreadStore
from context_svc.domain.thread import Thread
from context_svc.domain.told import is_instruction
from threadmesh.conversation import Message
from threadmesh.errors import Aborted, InvalidArgument, NotFound, PreconditionFailed, ThreadBusy


async def item_of(thread_id: str, sequence: int, *, store: ThreadStore) -> Item:
    """Give an item of a thread. Raises `NotFound` for one that is not there."""
    after = sequence - 1 if sequence else None
    for item in await store.items(thread_id, after=after, limit=1, descending=False):
        if item.sequence == sequence:
            return item
    raise NotFound(f"The thread has no item {sequence}.", sequence=sequence)


async def delete_item(thread_id: str, sequence: int, *, remaining: Message | None = None, store: ThreadStore) -> Thread:
    """Forget an item, or let it say nothing but what is `remaining` of it; gives the thread after it.

    Raises `ThreadNotFound`, `NotFound` for an item that is not there, `ThreadBusy` while the thread has an open run,
    `PreconditionFailed` for a summary, `InvalidArgument` where something else would remain than a part (of an
    instruction nothing can), and `Aborted` when somebody was at the thread meanwhile.
    """
    seen = await store.thread(thread_id)
    item = await item_of(thread_id, sequence, store=store)
    if item.kind is ItemKind.SUMMARY:
        raise PreconditionFailed("A summary stands for older items, and goes with the thread.")
    if remaining is not None and (is_instruction(item) or not _is_part(remaining, item.message)):
        raise InvalidArgument("What remains must be a part of what was said.", field="remaining")
    return await store.change(Scope(thread_id=thread_id), partial(_delete, item, remaining, seen))


def _is_part(remaining: Message, whole: Message) -> bool:
    named = (remaining.role, remaining.tool_call_id, remaining.name) == (whole.role, whole.tool_call_id, whole.name)
    parts = all(part in whole.parts for part in remaining.parts)
    return named and parts and all(call in whole.tool_calls for call in remaining.tool_calls)


def _delete(item: Item, remaining: Message | None, seen: Thread, state: State) -> tuple[Change, Thread]:
    thread = state.existing_thread()
    if state.open_runs:
        raise ThreadBusy
    if remaining is not None and thread != seen:  # another part of the item may have gone
        raise Aborted("Somebody else wrote to this thread meanwhile; try again.")
    thread = replace(thread, update_time=state.now.time)
    if remaining is not None:
        kind = item.kind if remaining.tool_calls else ItemKind.MESSAGE
        return Change(thread=thread, amended=(replace(item, message=remaining, kind=kind, tokens=0),)), thread
    pinned = tuple(number for number in thread.pinned if number != item.sequence)
    thread = replace(thread, pinned=pinned)
    return Change(thread=thread, removed=(item.sequence,)), thread
