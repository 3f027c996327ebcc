"""Results of MCP requests as they were sent."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import mcp_types as types
from mcp.client import Client
from pydantic import BaseModel, ConfigDict

from threadmesh.errors import ToolAnswerUnreadable

Value = TypeVar("Value")

_MOST_PAGES = 100
MOST_NAMED = 10
"""Of entries that cannot be read, the log says why of so many."""


class Raw(BaseModel):
    """A result as it was sent: the SDK's own models drop fields and validate with unbounded regular expressions."""

    model_config = ConfigDict(extra="allow")

    @property
    def fields(self) -> dict[str, Any]:
        """What the result holds."""
        return self.model_extra or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The first entries of a list, how many were seen, and whether there were more than are kept."""

    kept: list[Any]
    seen: int
    cut: bool


async def listed(
    client: Client,
    request: Callable[[types.PaginatedRequestParams], Any],
    key: str,
    *,
    most: int,
    characters: int,
) -> Listing:
    """Give the first `most` entries, of at most so many characters of JSON together, of a list that comes in pages.

    Nothing else of a page is kept, and no page is asked for behind what is too much. Raises the SDK's errors.
    """
    kept, seen, left, cursor = list[Any](), 0, characters, None
    for _ in range(_MOST_PAGES):
        page = (await client.session.send_request(request(types.PaginatedRequestParams(cursor=cursor)), Raw)).fields
        if not isinstance(page[key], list):
            raise TypeError(key)
        seen += len(page[key])
        for entry in page[key][: most - len(kept)]:
            left -= len(json.dumps(entry, separators=(",", ":")))
            if left < 0:
                break
            kept.append(entry)
        cursor = page.get("nextCursor")
        if not cursor or left < 0 or len(kept) >= most:
            break
    return Listing(kept=kept, seen=seen, cut=seen > len(kept) or bool(cursor))


def readable(entries: Iterable[Any], read: Callable[[Any], Value]) -> tuple[list[Value], list[str]]:
    """Give the entries of a list that can be read, and why the others cannot: each of them costs itself only."""
    given, why = list[Value](), list[str]()
    for entry in entries:
        try:
            given.append(read(entry))
        except ToolAnswerUnreadable as error:
            why.append(error.message)
    return given, why
