"""How requests ask for pages of lists."""

from typing import Annotated, Literal

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=100)]
"""How many entries a page may hold."""
Order = Literal["asc", "desc"]
"""The oldest first, or the newest."""
