"""What a model was told for a response, as pages of items."""

from collections.abc import Sequence
from typing import Any

from facade.domain.events import Run
from facade.domain.ports import Said
from facade.edge.responses.said import items_of
from facade.edge.responses.stored import Echo
from threadmesh.errors import InvalidArgument

_MOST = 100


def input_page(run: Run, echo: Echo, said: Sequence[Said], *, limit: int, order: str, after: str) -> dict[str, Any]:
    """Give a page of the items; `after` is the last item of the page before. Raises `InvalidArgument`."""
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit must be between 1 and {_MOST}.", field="limit")
    if order not in ("asc", "desc"):
        raise InvalidArgument("order must be asc or desc.", field="order")
    items = [item for each in _told(run, echo, said) for item in items_of(each)]
    if order == "desc":
        items.reverse()
    names = [item["id"] for item in items]
    if after and after not in names:
        raise InvalidArgument("after names no item of this list.", field="after")
    first = names.index(after) + 1 if after else 0
    page = items[first : first + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": first + limit < len(items),
    }


def _told(run: Run, echo: Echo, said: Sequence[Said]) -> Sequence[Said]:
    """Leave out what the run itself has said: of its entries, those behind its input."""
    own = next((place for place, each in enumerate(said) if each.run_id == run.id), len(said))
    return said[: own + echo.inputs]
