"""Makes a thread that only its id finds, with its first items."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Receipt, Scope, State
from context_svc.domain.item import NewItem, numbered
from context_svc.domain.pin import pinned_places, with_pinned
from context_svc.domain.ports import ThreadStore
from context_svc.domain.quota import require_room
from context_svc.domain.receipt import RECEIPT_LIFETIME, valid_receipt
from context_svc.domain.thread import Thread, new_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class NewThread:
    """A thread about to be made; `fingerprint` is equal for two requests exactly when they are the same.

    It is not made if the tenant has stored `limit` bytes; 0 is no limit.
    """

    metadata: Mapping[str, str]
    items: tuple[NewItem, ...] = ()
    tenant: str = ""
    request_id: str = ""
    fingerprint: str = ""
    limit: int = 0

    @property
    def receipt_key(self) -> str:
        """What a repetition of the request finds the thread by; empty if nothing does."""
        return f"thread@{self.tenant}:{self.request_id}" if self.request_id else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The thread, and whether an earlier sending of the request made it."""

    thread: Thread
    replayed: bool


async def create_thread(new: NewThread, *, store: ThreadStore) -> Created:
    """Give the new thread; a repetition with the same `request_id` gives the one that the first request made.

    Raises `IdempotencyKeyReused` when the first request was a different one, `ThreadNotFound` when its thread is gone,
    `InvalidArgument` for a pinned tool call without its results, `PreconditionFailed` when more would be pinned than
    may be, and `InsufficientQuota`.
    """
    pinned = pinned_places(new.items)
    scope = Scope(receipt_key=new.receipt_key, tenant=new.tenant, measured=bool(new.limit))
    thread = await store.change(scope, partial(_create, new, tuple(pinned)))
    if isinstance(thread, Thread):
        return Created(thread=thread, replayed=False)
    return Created(thread=await store.thread(thread), replayed=True)


def _create(new: NewThread, pinned: tuple[int, ...], state: State) -> tuple[Change, Thread | str]:
    if receipt := valid_receipt(state, fingerprint=new.fingerprint):
        return NOTHING, receipt.thread_id
    require_room(state, new.limit)
    now = state.now.time
    empty = new_thread(now, metadata=new.metadata, tenant=new.tenant)
    thread = with_pinned(replace(empty, ephemeral=False, item_count=len(new.items)), pinned)
    receipt = Receipt(
        key=new.receipt_key,
        fingerprint=new.fingerprint,
        thread_id=thread.id,
        item_count=len(new.items),
        expire_time=now + RECEIPT_LIFETIME,
    )
    change = Change(
        thread=thread,
        items=numbered(new.items, thread_id=thread.id, first=0, now=now),
        receipt=receipt if new.receipt_key else None,
    )
    return change, thread
