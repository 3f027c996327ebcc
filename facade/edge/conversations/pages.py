"""Pages of a conversation's items."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from facade.domain.records import Said
from facade.domain.threads import Thread, Threads
from facade.edge.paging import Order, listing
from facade.edge.responses.entries import Entries, ItemNotFound
from facade.edge.responses.names import read_item_id
from threadmesh.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Asks for a page: so many items, in which order, and behind which."""

    limit: int
    order: Order
    after: str


async def page(threads: Threads, thread: Thread, shown: Entries, wish: Wish) -> dict[str, Any]:
    """Give a page of a thread's items, as they are `shown`.

    Of an entry of which `after` is no longer a part, all is passed over. Raises `InvalidArgument` where it names none.
    """
    number = await _number(wish.after, shown) if wish.after else None
    items: list[dict[str, Any]] = []
    async with aclosing(_entries(threads, thread, wish, number)) as entries:
        async for entry in entries:
            found = await shown.items(entry)
            items += _beyond(wish, found, begins=entry.sequence == number)
            if len(items) > wish.limit:
                break
    return listing(items[: wish.limit], has_more=len(items) > wish.limit)


async def _number(after: str, shown: Entries) -> int:
    """Number the entry that an item is, or was, a part of."""
    place = read_item_id(after)
    with suppress(ItemNotFound):
        if place is not None:
            return await shown.number(place)
    raise InvalidArgument("after names no item of a conversation.", field="after")


async def _entries(threads: Threads, thread: Thread, wish: Wish, number: int | None) -> AsyncGenerator[Said, None]:
    """Yield what was said from the entry of a number on, summaries apart: those nobody said."""
    descending = wish.order == "desc"
    after = None if number is None else _before(number, descending=descending)
    more = True
    while more:
        found, more = await threads.said(
            thread.id, after=after, limit=wish.limit + 2, descending=descending, tenant=thread.tenant
        )
        for entry in found:
            after = entry.sequence
            if not entry.summary:
                yield entry


def _before(number: int, *, descending: bool) -> int | None:
    """Number the entry that the asked one stands behind."""
    if descending:
        return number + 1
    return number - 1 if number else None


def _beyond(wish: Wish, items: list[dict[str, Any]], *, begins: bool) -> list[dict[str, Any]]:
    """Give the items of an entry in the order of the page; where the page begins in it, without those up to `after`."""
    if wish.order == "desc":
        items.reverse()
    if not begins:
        return items
    names = [item["id"] for item in items]
    return items[names.index(wish.after) + 1 :] if wish.after in names else []
