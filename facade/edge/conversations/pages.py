"""Pages of a conversation's items."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from facade.domain.records import Said
from facade.domain.threads import Thread, Threads
from facade.edge.paging import Order, listing
from facade.edge.responses.entries import Entries
from facade.edge.responses.names import Place, read_item_id
from threadmesh.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Asks for a page: so many items, in which order, and behind which."""

    limit: int
    order: Order
    after: str

    def check(self) -> None:
        """Raise `InvalidArgument` for what cannot be given."""
        if self.after and read_item_id(self.after) is None:
            raise InvalidArgument("after names no item of a conversation.", field="after")


async def page(threads: Threads, thread: Thread, shown: Entries, wish: Wish) -> dict[str, Any]:
    """Give a page of a thread's items, as they are `shown`.

    Of an entry of which `after` is no longer a part, all is passed over.
    """
    wish.check()
    items: list[dict[str, Any]] = []
    async with aclosing(_entries(threads, thread, wish)) as entries:
        async for entry in entries:
            items += _beyond(wish, entry, await shown.items(entry))
            if len(items) > wish.limit:
                break
    return listing(items[: wish.limit], has_more=len(items) > wish.limit)


async def _entries(threads: Threads, thread: Thread, wish: Wish) -> AsyncGenerator[Said, None]:
    """Yield what was said from the entry of `after` on, summaries apart: those nobody said."""
    descending = wish.order == "desc"
    place = read_item_id(wish.after)
    after = _before(place, descending=descending) if place else None
    more = True
    while more:
        found, more = await threads.said(
            thread.id, after=after, limit=wish.limit + 2, descending=descending, tenant=thread.tenant
        )
        for entry in found:
            after = entry.sequence
            if not entry.summary:
                yield entry


def _before(place: Place, *, descending: bool) -> int | None:
    """Number the entry that the asked one stands behind."""
    if descending:
        return place.sequence + 1
    return place.sequence - 1 if place.sequence else None


def _beyond(wish: Wish, entry: Said, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the items of an entry in the order of the page, without those up to `after`."""
    if wish.order == "desc":
        items.reverse()
    place = read_item_id(wish.after)
    if place is None or place.sequence != entry.sequence:
        return items
    names = [item["id"] for item in items]
    return items[names.index(wish.after) + 1 :] if wish.after in names else []
