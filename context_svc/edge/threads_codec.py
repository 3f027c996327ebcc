"""Threads and items to and from protobuf. Pure functions; `decode_*` raises `InvalidArgument`."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from context_svc.domain.append_summary import NewSummary
from context_svc.domain.assemble import Window
from context_svc.domain.create_thread import NewThread
from context_svc.domain.import_thread import History, ImportedItem
from context_svc.domain.item import Item, ItemKind, ItemStatus, NewItem, Provenance, Span, new_item
from context_svc.domain.list_threads import Wanted
from context_svc.domain.ports import Cursor
from context_svc.domain.thread import Thread
from context_svc.edge.tenancy import tenant_of
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.codec import decode_approval, decode_message, encode_approval, encode_message
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
        tenant=thread.tenant,
        key=thread.key,
        metadata=thread.metadata,
        create_time=timestamp(thread.create_time),
        update_time=timestamp(thread.update_time),
        item_count=thread.item_count,
        active_run_id=thread.active_run_id,
        ephemeral=thread.ephemeral,
        pinned=thread.pinned,
        summary=thread.summary,
    )


def encode_item(item: Item, *, pinned: bool = False) -> pb.Item:
    """Encode an item, which its thread has `pinned` or not."""
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
        pinned=pinned,
        covers=pb.ItemRange(first=item.covers.first, last=item.covers.last) if item.covers else None,
        approval=encode_approval(item.approval),
        input_place=item.input_place,
    )


def decode_told(item: pb.NewItem) -> NewItem:
    """Decode an item that somebody adds, which is no summary: those are added with AppendSummary."""
    if item.kind == pb.ITEM_KIND_SUMMARY or item.HasField("covers"):
        message = "Add summaries with AppendSummary, which knows how far they can be trusted."
        raise InvalidArgument(message, field="kind")
    return decode_new_item(item)


def decode_new_thread(request: pb.CreateThreadRequest, *, fingerprint: str, limit: int) -> NewThread:
    """Decode a thread about to be made."""
    return NewThread(
        metadata=dict(request.metadata),
        items=tuple(map(decode_told, request.items)),
        tenant=request.tenant,
        request_id=plain(request.request_id, field="request_id"),
        fingerprint=fingerprint,
        limit=limit,
    )


def decode_span(wire: pb.ItemRange, *, field: str) -> Span:
    """Decode the numbers of items that follow each other."""
    if wire.last < wire.first:
        raise InvalidArgument("The last item may not stand before the first.", field=field)
    return Span(first=wire.first, last=wire.last)


def decode_summary(request: pb.AppendSummaryRequest, *, fingerprint: str) -> NewSummary:
    """Decode a summary about to be stored."""
    return NewSummary(
        text=request.text,
        read=decode_span(request.items, field="items"),
        previous=request.previous_summary if request.HasField("previous_summary") else None,
        tokens=request.tokens,
        request_id=plain(request.request_id, field="request_id"),
        fingerprint=fingerprint,
    )


def decode_new_item(item: pb.NewItem) -> NewItem:
    """Decode an item about to be stored; what is absent follows from its message."""
    return new_item(
        decode_message(item.message),
        kind=_KINDS_BACK.get(item.kind),
        provenance=_PROVENANCES_BACK.get(item.provenance),
        tokens=item.tokens,
        status=_STATUSES_BACK.get(item.status, ItemStatus.COMPLETED),
        pinned=item.pinned,
        covers=decode_span(item.covers, field="covers") if item.HasField("covers") else None,
        approval=decode_approval(item.approval) if item.HasField("approval") else None,
    )


def decode_history(request: pb.ImportThreadRequest) -> History:
    """Decode a thread as it was somewhere else, or a part of it."""
    return History(
        key=plain(request.key, field="key"),
        tenant=tenant_of(request) or "",
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
        messages=map(encode_message, window.messages),
        tokens=window.tokens,
        omitted_items=window.omitted_items,
        least_tokens=window.least_tokens,
        summary=window.summary,
        summary_provenance=_PROVENANCES[said] if (said := window.summary_provenance) else pb.PROVENANCE_UNSPECIFIED,
    )


def encode_page_token(time: datetime, name: str) -> str:
    """Write the place behind an entry of a list, so that the next page can begin there."""
    microseconds = (time - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(f"{microseconds}:{name}".encode()).decode()


def decode_wanted(request: pb.ListThreadsRequest) -> Wanted:
    """Decode which threads are wanted."""
    return Wanted(
        key_prefix=request.key_prefix,
        tenant=tenant_of(request),
        metadata=dict(request.metadata),
        ascending=request.ascending,
    )


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
