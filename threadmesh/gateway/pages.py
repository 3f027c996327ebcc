"""Lists in pages: as much as a client can take at once, and a cursor to what follows."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

import mcp_types as types
from mcp.shared.exceptions import MCPError

Entry = TypeVar("Entry", bound=types.BaseMetadata)

MOST_ENTRIES = 1_000
MOST_BYTES = 1024 * 1024
"""What a page holds at most: so much that clients which never ask for a second one see the whole of most catalogues."""


def page(
    entries: Iterable[Entry], params: types.PaginatedRequestParams | None, *, key: Callable[[Entry], str]
) -> tuple[list[Entry], str | None]:
    """Give the page that is asked for, in the order of the keys, and the cursor of the next one; None for the last.

    A cursor says where the last page ended and not how many came before, so a list that changes meanwhile loses no
    entry that stays. An entry that is larger than a page is one by itself. Raises the protocol's error for a cursor
    that is none of ours.
    """
    after = _place(params.cursor) if params is not None and params.cursor is not None else ""
    rest = sorted((each for each in entries if key(each) > after), key=key)
    shown: list[Entry] = []
    left = MOST_BYTES
    for entry in rest[:MOST_ENTRIES]:
        left -= len(entry.model_dump_json(by_alias=True, exclude_none=True))
        if left < 0 and shown:
            break
        shown.append(entry)
    return shown, _cursor(key(shown[-1])) if len(shown) < len(rest) else None


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def _place(cursor: str) -> str:
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise MCPError(
            types.INVALID_PARAMS, "This cursor is not one of ours; ask for the list from its start."
        ) from error
