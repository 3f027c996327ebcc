"""Threads and items to and from protobuf. Pure functions; `decode_*` raises `InvalidArgument`."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from context_svc.domain.assemble import Window
from context_svc.domain.import_thread import History, ImportedItem
from context_svc.domain.item import Item, ItemKind, ItemStatus, NewItem, Provenance, new_item
from context_svc.domain.ports import Cursor
from context_svc.domain.retain import Removal
from context_svc.domain.thread import Thread
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.codec import decode_message, encode_message
from threadmesh.errors import InvalidArgument

_PAGE_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {
    ItemKind.MESSAGE: pb.ITEM_KIND_MESSAGE,
    ItemKind.TOOL_CALLS: pb.ITEM_KIND_TOOL_CALLS,
    ItemKind.TOOL_RESULT: pb.ITEM_KIND_TOOL_RESULT,
    ItemKind.SUMMARY: pb.ITEM_KIND_SUMMARY,
}
_KINDS_BACK: dict[int, ItemKind] = {wire: kind for kind, wire in _KINDS.items()}
_PROVENANCES = {
    Provenance.OPERATOR: pb.PROVENANCE_OPERATOR,
    Provenance.USER: pb.PROVENANCE_USER,
    Provenance.MODEL: pb.PROVENANCE_MODEL,
    Provenance.TOOL: pb.PROVENANCE_TOOL,
    Provenance.IMPORTED: pb.PROVENANCE_IMPORTED,
}
_PROVENANCES_BACK: dict[int, Provenance] = {wire: provenance for provenance, wire in _PROVENANCES.items()}
_STATUSES = {
    ItemStatus.COMPLETED: pb.ITEM_STATUS_COMPLETED,
    ItemStatus.INCOMPLETE: pb.ITEM_STATUS_INCOMPLETE,
}
_STATUSES_BACK: dict[int, ItemStatus] = {wire: status for status, wire in _STATUSES.items()}


def timestamp(time: datetime) -> Timestamp:
    """Encode a date."""
    wire = Timestamp()
    wire.FromDatetime(time)
    return wire


def encode_thread(thread: Thread) -> pb.Thread:
    """Encode a thread."""
    return pb.Thread(
        id=thread.id,
        key=thread.key,
        metadata=thread.metadata,
        create_time=timestamp(thread.create_time),
        update_time=timestamp(thread.update_time),
        item_count=thread.item_count,
        active_run_id=thread.active_run_id,
        ephemeral=thread.ephemeral,
    )


def encode_item(item: Item) -> pb.Item:
    """Encode an item."""
    return pb.Item(
        id=item.id,
        thread_id=item.thread_id,
        sequence=item.sequence,
        run_id=item.run_id,
        create_time=timestamp(item.create_time),
        kind=_KINDS[item.kind],
        provenance=_PROVENANCES[item.provenance],
        message=encode_message(item.message),
        tokens=item.tokens,
        status=_STATUSES[item.status],
    )


def decode_new_item(item: pb.NewItem) -> NewItem:
    """Decode an item about to be stored; what is absent follows from its message."""
    return new_item(
        decode_message(item.message),
        kind=_KINDS_BACK.get(item.kind),
        provenance=_PROVENANCES_BACK.get(item.provenance),
        tokens=item.tokens,
        status=_STATUSES_BACK.get(item.status, ItemStatus.COMPLETED),
    )


def decode_history(request: pb.ImportThreadRequest) -> History:
    """Decode a thread as it was somewhere else, or a part of it."""
    return History(
        key=plain(request.key, field="key"),
        metadata=dict(request.metadata),
        create_time=request.create_time.ToDatetime(UTC),
        update_time=request.update_time.ToDatetime(UTC),
        items=tuple(
            ImportedItem(
                sequence=each.sequence,
                create_time=each.create_time.ToDatetime(UTC),
                item=decode_new_item(each.item),
            )
            for each in request.items
        ),
    )


def encode_removal(removal: Removal) -> pb.PrunedThread:
    """Encode what went of a thread."""
    return pb.PrunedThread(
        thread_id=removal.thread.id,
        key=removal.thread.key,
        pattern=removal.rule.pattern,
        items=removal.items,
        whole=removal.whole,
    )


def fitting(items: Iterable[pb.Item]) -> list[pb.Item]:
    """Give the first items that fit into one message, at least one if there is any."""
    chosen: list[pb.Item] = []
    size = 0
    for item in items:
        size += item.ByteSize()
        if chosen and size > _PAGE_BYTES:
            break
        chosen.append(item)
    return chosen


def encode_window(window: Window) -> pb.AssembleWindowResponse:
    """Encode a window."""
    return pb.AssembleWindowResponse(
        messages=map(encode_message, window.messages), tokens=window.tokens, omitted_items=window.omitted_items
    )


def encode_page_token(time: datetime, name: str) -> str:
    """Write the place behind an entry of a list, so that the next page can begin there."""
    microseconds = (time - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(f"{microseconds}:{name}".encode()).decode()


def decode_page_token(token: str) -> Cursor | None:
    """Read a place in a list; None for its beginning."""
    if not token:
        return None
    try:
        microseconds, _, name = urlsafe_b64decode(token.encode()).decode().partition(":")
        return Cursor(time=_EPOCH + timedelta(microseconds=int(microseconds)), id=name)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidArgument("This page token was not given by this service.", field="page_token") from error


def plain(text: str, *, field: str) -> str:
    """Give the text if every store can keep it as a name; PostgreSQL knows no NUL."""
    if "\0" in text:
        raise InvalidArgument("A name may not contain the character NUL.", field=field)
    return text
