"""Adds a history from elsewhere to a thread, with its numbers and dates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.item import Item, ItemKind, NewItem, Provenance, numbered
from context_svc.domain.pin import with_pinned
from context_svc.domain.ports import ThreadStore
from context_svc.domain.thread import Thread, new_thread
from threadmesh.errors import Aborted, InvalidArgument, ThreadBusy, ThreadDiffers

_PAGE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedItem:
    """An item as it was somewhere else: its number, when it was written, and what it was."""

    sequence: int
    create_time: datetime
    item: NewItem


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A thread as it was somewhere else, or the next part of it; `items` are ordered by their numbers."""

    key: str
    create_time: datetime
    update_time: datetime
    items: tuple[ImportedItem, ...] = ()
    metadata: Mapping[str, str]
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The thread after an import, and how many items it had not had before."""

    thread: Thread
    added: int


async def import_thread(history: History, *, store: ThreadStore) -> Imported:
    """Add what the thread of the history's key does not have yet; a repetition adds nothing.

    Items that the thread once had and has pruned do not come back. Raises `InvalidArgument`, `ThreadDiffers` with the
    number of an item in whose place there is another, `ThreadBusy` while the thread has an open run, `Aborted` when
    somebody wrote to it meanwhile, and `PreconditionFailed` when more would be pinned than may be.
    """
    numbers = [item.sequence for item in history.items]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise InvalidArgument("The items must be ordered by their numbers.", field="items")
    thread = await store.change(Scope(thread_key=history.key, tenant=history.tenant), partial(_found, history))
    await _compare(thread, history.items, store)
    return await store.change(Scope(thread_id=thread.id), partial(_add, thread, history))


def _found(history: History, state: State) -> tuple[Change, Thread]:
    if state.thread:
        return NOTHING, state.thread
    thread = new_thread(history.create_time, key=history.key, metadata=history.metadata, tenant=history.tenant)
    thread = replace(thread, update_time=history.update_time)
    return Change(thread=thread), thread


async def _compare(thread: Thread, items: Sequence[ImportedItem], store: ThreadStore) -> None:
    known = {item.sequence: item for item in items if item.sequence < thread.item_count}
    after = min(known, default=0) - 1
    while known:
        place = after if after >= 0 else None
        page = await store.items(thread.id, after=place, limit=_PAGE, descending=False)
        for item in page:
            imported = known.get(item.sequence)
            if imported and not _equal(item, imported):
                raise ThreadDiffers(key=thread.key, sequence=item.sequence)
        if len(page) < _PAGE or page[-1].sequence >= max(known):
            return
        after = page[-1].sequence


def _equal(item: Item, imported: ImportedItem) -> bool:
    """Say whether it is the same item; where its words come from may be told differently, and whether it is pinned."""
    new = imported.item
    return (item.message, item.kind, item.status, item.tokens, item.covers, item.create_time) == (
        new.message,
        new.kind,
        new.status,
        new.tokens,
        new.covers,
        imported.create_time,
    )


def _add(seen: Thread, history: History, state: State) -> tuple[Change, Imported]:
    thread = state.existing_thread()
    if thread.item_count != seen.item_count:
        raise Aborted("Somebody else wrote to this thread meanwhile; try again.")
    items = [item for item in history.items if item.sequence >= thread.item_count]
    if not items:
        return NOTHING, Imported(thread=thread, added=0)
    if state.open_runs:
        raise ThreadBusy
    thread = replace(
        thread, item_count=items[-1].sequence + 1, update_time=max(thread.update_time, history.update_time)
    )
    thread = with_pinned(thread, (each.sequence for each in items if each.item.pinned))
    summaries = [each.sequence for each in items if each.item.kind is ItemKind.SUMMARY]
    thread = replace(thread, summary=max(summaries, default=thread.summary))
    stored = tuple(_item(item, thread) for item in items)
    return Change(thread=thread, items=stored), Imported(thread=thread, added=len(stored))


def _item(imported: ImportedItem, thread: Thread) -> Item:
    item = replace(imported.item, provenance=Provenance.IMPORTED)
    (stored,) = numbered((item,), thread_id=thread.id, first=imported.sequence, now=imported.create_time)
    return stored
