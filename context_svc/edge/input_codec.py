"""Input that waits to protobuf, in pages. Pure functions; `decode_*` raises `InvalidArgument`."""

import re

from context_svc.domain.waiting_input import Waiting
from context_svc.edge.threads_codec import encode_item, fitting
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.errors import InvalidArgument

Place = tuple[int, int]
"""The number of a run in its thread, and that of an item within the run's input."""

_ITEMS = 100
_TOKEN = re.compile("([0-9]{1,18}):([0-9]{1,18})")


def decode_place(token: str) -> Place | None:
    """Read behind which item a page begins; None for the first page."""
    if not token:
        return None
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise InvalidArgument("This page token was not given by this service.", field="page_token")
    return int(found[1]), int(found[2])


def encode_waiting(waiting: Waiting, *, after: Place | None, size: int) -> pb.ListWaitingInputResponse:
    """Encode a page of at most `size` items; what has entered the thread since the page before is passed over."""
    placed = [((run.number, item.sequence), item) for run, items in waiting for item in items]
    rest = [(place, item) for place, item in placed if after is None or place > after]
    items = fitting(encode_item(item) for _, item in rest[: size or _ITEMS])
    token = ""
    if len(items) < len(rest):
        run, item = rest[len(items) - 1][0]
        token = f"{run}:{item}"
    return pb.ListWaitingInputResponse(items=items, next_page_token=token)
