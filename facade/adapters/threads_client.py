"""Threads as context_svc keeps them, for those who look after what was said."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC

from facade.adapters.run_codec import encode_items
from facade.adapters.run_writer import PEER, SECONDS
from facade.domain.records import NewItem, Said
from facade.domain.threads import NewThread, Thread, Wanted
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2_grpc as rpc
from threadmesh.codec import decode_approval, decode_message, encode_message
from threadmesh.conversation import Message
from threadmesh.rpc.channel import MeshChannel, translated

_THREADS = 100


class ThreadsClient:
    """The `Threads` port over gRPC."""

    def __init__(self, channel: MeshChannel) -> None:
        self._threads = rpc.ThreadsServiceStub(channel)

    async def create(self, new: NewThread, *, tenant: str) -> tuple[Thread, bool]:
        """Make a thread."""
        request = pb.CreateThreadRequest(
            metadata=new.metadata,
            items=_items(new.messages),
            request_id=new.request_id,
            tenant=tenant,
            stored_bytes_limit=new.stored_limit,
        )
        async with translated(PEER):
            response = await self._threads.CreateThread(request, timeout=SECONDS)
        return decode_thread(response.thread), response.replayed

    async def thread(self, thread_id: str, *, tenant: str) -> Thread:
        """Give a thread."""
        request = pb.GetThreadRequest(thread_id=thread_id, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.GetThread(request, timeout=SECONDS)
        return decode_thread(response.thread)

    async def resolve(self, key: str, metadata: Mapping[str, str], *, tenant: str, stored_limit: int = 0) -> Thread:
        """Give the thread of a key, made if need be."""
        request = pb.ResolveThreadRequest(key=key, metadata=metadata, tenant=tenant, stored_bytes_limit=stored_limit)
        async with translated(PEER):
            response = await self._threads.ResolveThread(request, timeout=SECONDS)
        return decode_thread(response.thread)

    async def of_key(self, key: str, *, tenant: str) -> Thread | None:
        """Give the thread of a key."""
        async with translated(PEER):
            response = await self._threads.ListThreads(pb.ListThreadsRequest(key=key, tenant=tenant), timeout=SECONDS)
        return decode_thread(response.threads[0]) if response.threads else None

    async def page(self, wanted: Wanted, *, token: str, limit: int, tenant: str) -> tuple[Sequence[Thread], str]:
        """Give a page of threads, and the token for the next one."""
        request = pb.ListThreadsRequest(
            key_prefix=wanted.key_prefix,
            metadata=wanted.metadata,
            ascending=wanted.ascending,
            after_thread_id=wanted.after,
            page_size=limit,
            page_token=token,
            tenant=tenant,
        )
        async with translated(PEER):
            response = await self._threads.ListThreads(request, timeout=SECONDS)
        return [decode_thread(thread) for thread in response.threads], response.next_page_token

    async def threads(self, wanted: Wanted, *, tenant: str) -> AsyncGenerator[Thread, None]:
        """Yield the threads that are wanted."""
        token = ""
        while True:
            page, token = await self.page(wanted, token=token, limit=_THREADS, tenant=tenant)
            for thread in page:
                yield thread
            if not token:
                return

    async def update(self, thread_id: str, metadata: Mapping[str, str], *, tenant: str) -> Thread:
        """Let the thread be described by other metadata."""
        request = pb.UpdateThreadRequest(thread_id=thread_id, metadata=metadata, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.UpdateThread(request, timeout=SECONDS)
        return decode_thread(response.thread)

    async def delete(self, thread_id: str, *, tenant: str) -> None:
        """Delete a thread with everything in it."""
        request = pb.DeleteThreadRequest(thread_id=thread_id, tenant=tenant)
        async with translated(PEER):
            await self._threads.DeleteThread(request, timeout=SECONDS)

    async def append(
        self, thread_id: str, messages: Sequence[Message], *, request_id: str, tenant: str, stored_limit: int = 0
    ) -> tuple[Sequence[Said], bool]:
        """Add messages."""
        request = pb.AppendItemsRequest(
            thread_id=thread_id,
            items=_items(messages),
            request_id=request_id,
            tenant=tenant,
            stored_bytes_limit=stored_limit,
        )
        async with translated(PEER):
            response = await self._threads.AppendItems(request, timeout=SECONDS)
        return [decode_said(item) for item in response.items], response.replayed

    async def said(
        self, thread_id: str, *, after: int | None, limit: int, descending: bool, tenant: str
    ) -> tuple[Sequence[Said], bool]:
        """Give a page of what was said."""
        request = pb.ListItemsRequest(
            thread_id=thread_id, after_sequence=after, page_size=limit, descending=descending, tenant=tenant
        )
        async with translated(PEER):
            response = await self._threads.ListItems(request, timeout=SECONDS)
        return [decode_said(item) for item in response.items], response.has_more

    async def entry(self, thread_id: str, sequence: int, *, tenant: str) -> Said:
        """Give an entry."""
        request = pb.GetItemRequest(thread_id=thread_id, sequence=sequence, tenant=tenant)
        async with translated(PEER):
            response = await self._threads.GetItem(request, timeout=SECONDS)
        return decode_said(response.item)

    async def delete_entry(self, thread_id: str, sequence: int, *, remaining: Message | None, tenant: str) -> None:
        """Delete an entry, or a part of it."""
        request = pb.DeleteItemRequest(
            thread_id=thread_id,
            sequence=sequence,
            remaining=encode_message(remaining) if remaining else None,
            tenant=tenant,
        )
        async with translated(PEER):
            await self._threads.DeleteItem(request, timeout=SECONDS)

    async def stored(self, *, tenant: str) -> int:
        """Give what is stored."""
        async with translated(PEER):
            response = await self._threads.GetUsage(pb.GetUsageRequest(tenant=tenant), timeout=SECONDS)
        return response.stored_bytes


def decode_said(item: pb.Item) -> Said:
    """Decode an entry of a thread."""
    return Said(
        id=item.id,
        sequence=item.sequence,
        run_id=item.run_id,
        message=decode_message(item.message),
        place=item.input_place if item.HasField("input_place") else None,
        incomplete=item.status == pb.ITEM_STATUS_INCOMPLETE,
        summary=item.kind == pb.ITEM_KIND_SUMMARY,
        covers=(item.covers.first, item.covers.last) if item.HasField("covers") else None,
        approval=decode_approval(item.approval) if item.HasField("approval") else None,
    )


def decode_thread(thread: pb.Thread) -> Thread:
    """Decode a thread."""
    return Thread(
        id=thread.id,
        tenant=thread.tenant,
        create_time=thread.create_time.ToDatetime(UTC),
        update_time=thread.update_time.ToDatetime(UTC),
        key=thread.key,
        metadata=dict(thread.metadata),
        ephemeral=thread.ephemeral,
        item_count=thread.item_count,
        active_run_id=thread.active_run_id,
        pinned=tuple(thread.pinned),
        summary=thread.summary if thread.HasField("summary") else None,
    )


def _items(messages: Sequence[Message]) -> list[pb.NewItem]:
    return encode_items([NewItem(message=message) for message in messages])
