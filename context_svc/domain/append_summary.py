"""Adds a summary to a thread, unless the thread is no longer what was summarized."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from context_svc.domain.assemble import is_said
from context_svc.domain.change import NOTHING, Change, Receipt, Scope, State
from context_svc.domain.item import Item, ItemKind, NewItem, Provenance, Span, new_item, numbered
from context_svc.domain.ports import ThreadStore
from context_svc.domain.receipt import RECEIPT_LIFETIME, valid_receipt
from context_svc.domain.summary import covered, least_trusted, words
from threadmesh.errors import InvalidArgument, ThreadBusy, ThreadChanged

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSummary:
    """A model's words for the items `read` and, if there was one, for the thread's summary `previous` before them.

    `fingerprint` is equal for two requests exactly when they are the same. `tokens` is 0 where nobody counted.
    """

    text: str
    read: Span
    previous: int | None = None
    tokens: int = 0
    request_id: str = ""
    fingerprint: str = ""


async def append_summary(thread_id: str, new: NewSummary, *, store: ThreadStore) -> Item:
    """Give the summary as stored; a repetition with the same `request_id` stores nothing.

    It is as little trusted as the least trusted of what it retells, whoever sends it. Raises `ThreadNotFound`,
    `InvalidArgument` for a range without items, `ThreadBusy` while the thread has an open run, and `ThreadChanged` when
    it was summarized, or items of the range were removed, since they were read.
    """
    await store.thread(thread_id)
    key = f"items:{thread_id}:{new.request_id}" if new.request_id else ""
    item = await _item(thread_id, new, store)
    scope = Scope(thread_id=thread_id, receipt_key=key)
    number = await store.change(scope, partial(_append, item, new, key))
    stored = await _numbered(thread_id, number, store)
    if stored is None:
        raise ThreadChanged
    return stored


async def _item(thread_id: str, new: NewSummary, store: ThreadStore) -> NewItem | None:
    """Describe the item; None where there is nothing to retell.

    What it retells never changes, it can only go, and the transaction looks whether it has.
    """
    provenances: set[Provenance] = set()
    first: int | None = None
    async with aclosing(_read(thread_id, new.read, store)) as items:
        async for item in items:
            first = item.sequence if first is None else first
            provenances.add(item.provenance)
    if first is None:
        return None
    previous = None if new.previous is None else await _numbered(thread_id, new.previous, store)
    if previous and previous.kind is ItemKind.SUMMARY:
        provenances.add(previous.provenance)
        first = min(first, covered(previous).first)
    return new_item(
        words(new.text),
        kind=ItemKind.SUMMARY,
        provenance=least_trusted(provenances),
        tokens=new.tokens,
        covers=Span(first=first, last=new.read.last),
    )


async def _read(thread_id: str, span: Span, store: ThreadStore) -> AsyncGenerator[Item, None]:
    after = span.first - 1 if span.first else None
    while True:
        page = await store.items(thread_id, after=after, limit=_PAGE, descending=False)
        for item in page:
            if item.sequence > span.last:
                return
            if is_said(item):
                yield item
        if len(page) < _PAGE:
            return
        after = page[-1].sequence


async def _numbered(thread_id: str, number: int, store: ThreadStore) -> Item | None:
    page = await store.items(thread_id, after=number - 1 if number else None, limit=1, descending=False)
    return next((item for item in page if item.sequence == number), None)


def _append(item: NewItem | None, new: NewSummary, key: str, state: State) -> tuple[Change, int]:
    thread, now = state.existing_thread(), state.now.time
    if receipt := valid_receipt(state, fingerprint=new.fingerprint):
        return NOTHING, receipt.first_item
    if state.open_runs:
        raise ThreadBusy
    if thread.summary != new.previous or thread.first_item > new.read.first:
        raise ThreadChanged
    if item is None or new.read.last >= thread.item_count:
        raise InvalidArgument("The thread has nothing to summarize between these items.", field="items")
    number = thread.item_count
    receipt = Receipt(
        key=key,
        fingerprint=new.fingerprint,
        thread_id=thread.id,
        first_item=number,
        item_count=1,
        expire_time=now + RECEIPT_LIFETIME,
    )
    change = Change(
        thread=replace(thread, item_count=number + 1, update_time=now, summary=number),
        items=numbered((item,), thread_id=thread.id, first=number, now=now),
        receipt=receipt if key else None,
    )
    return change, number
