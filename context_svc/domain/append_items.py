"""Adds items to a thread without running a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Receipt, Scope, State
from context_svc.domain.item import Item, NewItem, numbered
from context_svc.domain.pin import pinned_places, with_pinned
from context_svc.domain.ports import ThreadStore
from context_svc.domain.quota import require_room
from context_svc.domain.receipt import RECEIPT_LIFETIME, valid_receipt
from threadmesh.errors import ThreadBusy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    key: str
    fingerprint: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The items as stored, in the order of the request, and whether an earlier sending of it added them."""

    items: tuple[Item, ...]
    replayed: bool


async def append_items(
    thread_id: str,
    items: tuple[NewItem, ...],
    *,
    request_id: str,
    fingerprint: str,
    store: ThreadStore,
    tenant: str = "",
    limit: int = 0,
) -> Appended:
    """Give the items as stored; a repetition with the same `request_id` stores nothing.

    Raises `ThreadNotFound`, `ThreadBusy` while the thread has an open run, `IdempotencyKeyReused` when the
    `fingerprint` differs from the first request's, `InvalidArgument` for a pinned tool call without its results, and
    `PreconditionFailed` when more would be pinned than may be. Where there is a `limit`, raises `InsufficientQuota` if
    the `tenant` has stored so many bytes.
    """
    pinned = pinned_places(items)
    key = f"items:{thread_id}:{request_id}" if request_id else ""
    request = _Request(key=key, fingerprint=fingerprint, limit=limit)
    scope = Scope(thread_id=thread_id, receipt_key=key, tenant=tenant, measured=bool(limit))
    first, replayed = await store.change(scope, partial(_append, items, pinned, request))
    after = first - 1 if first else None
    stored = await store.items(thread_id, after=after, limit=len(items), descending=False)
    known = (item for item in stored if item.sequence < first + len(items))  # some may have been pruned since
    return Appended(items=tuple(known), replayed=replayed)


def _append(
    items: tuple[NewItem, ...], pinned: Sequence[int], request: _Request, state: State
) -> tuple[Change, tuple[int, bool]]:
    thread, now = state.existing_thread(), state.now.time
    if receipt := valid_receipt(state, fingerprint=request.fingerprint):
        return NOTHING, (receipt.first_item, True)
    if state.open_runs:
        raise ThreadBusy
    require_room(state, request.limit)
    first = thread.item_count
    receipt = Receipt(
        key=request.key,
        fingerprint=request.fingerprint,
        thread_id=thread.id,
        first_item=first,
        item_count=len(items),
        expire_time=now + RECEIPT_LIFETIME,
    )
    longer = replace(thread, item_count=first + len(items), update_time=now)
    change = Change(
        thread=with_pinned(longer, (first + place for place in pinned)),
        items=numbered(items, thread_id=thread.id, first=first, now=now),
        receipt=receipt if request.key else None,
    )
    return change, (first, False)
