"""Results of MCP requests as they were sent."""

from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.client import Client
from pydantic import BaseModel, ConfigDict

_MOST_PAGES = 100


class Raw(BaseModel):
    """A result as it was sent: the SDK's own models drop fields and validate with unbounded regular expressions."""

    model_config = ConfigDict(extra="allow")

    @property
    def fields(self) -> dict[str, Any]:
        """What the result holds."""
        return self.model_extra or {}


async def listed(
    client: Client, request: Callable[[types.PaginatedRequestParams], Any], key: str, *, most: int
) -> list[dict[str, Any]]:
    """Give the first `most` entries of a list that comes in pages; raises the SDK's errors."""
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = (await client.session.send_request(request(types.PaginatedRequestParams(cursor=cursor)), Raw)).fields
        entries += page[key]
        cursor = page.get("nextCursor")
        if not cursor or len(entries) >= most:
            break
    return entries[:most]
