"""How requests ask for pages of lists, and how these are given in OpenAI's words."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from threadmesh.errors import InvalidArgument

Limit = Annotated[int, Query(ge=1, le=100)]
"""How many entries a page may hold."""
Order = Literal["asc", "desc"]
"""The oldest first, or the newest."""


def listing(entries: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Give entries as a page."""
    return {
        "object": "list",
        "data": list(entries),
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
        "has_more": has_more,
    }


def page(entries: Sequence[dict[str, Any]], *, limit: int, order: Order, after: str) -> dict[str, Any]:
    """Give a page of entries that are all at hand, the oldest first, behind the one whose id is `after`.

    Raises `InvalidArgument` if there is none of that id.
    """
    ordered = entries if order == "asc" else entries[::-1]
    names = [entry["id"] for entry in ordered]
    if after and after not in names:
        raise InvalidArgument("after names nothing in this list.", field="after")
    first = names.index(after) + 1 if after else 0
    return listing(ordered[first : first + limit], has_more=first + limit < len(ordered))
