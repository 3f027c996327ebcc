"""`ThreadsService`: decode, call the domain, encode."""

from typing import Any

import grpc

from context_svc.domain.append_items import append_items
from context_svc.domain.append_summary import append_summary
from context_svc.domain.create_thread import create_thread
from context_svc.domain.delete import delete
from context_svc.domain.delete_item import delete_item, item_of
from context_svc.domain.find import find
from context_svc.domain.import_thread import import_thread
from context_svc.domain.list_threads import list_threads, place_of
from context_svc.domain.pin import pin, unpin
from context_svc.domain.ports import Store
from context_svc.domain.prune_thread import prune_thread
from context_svc.domain.read_window import read_window
from context_svc.domain.resolve import resolve
from context_svc.domain.retain import prune_threads
from context_svc.domain.retention import Retention, rule_for
from context_svc.domain.update_thread import update_thread
from context_svc.edge.metrics import EdgeMetrics
from context_svc.edge.retention_codec import decode_limits, encode_removal, encode_rule
from context_svc.edge.runs_codec import digest
from context_svc.edge.tenancy import require_thread, taken_limit, tenant_of, visible_thread
from context_svc.edge.threads_codec import (
    decode_history,
    decode_new_thread,
    decode_page_token,
    decode_summary,
    decode_told,
    decode_wanted,
    encode_item,
    encode_page_token,
    encode_thread,
    encode_window,
    fitting,
    plain,
)
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2_grpc as rpc
from threadmesh.clock import Clock
from threadmesh.codec import decode_message

Context = grpc.aio.ServicerContext[Any, Any]

_THREADS = 50
_ITEMS = 100
_HIGHEST = (1 << 62) - 1


class ThreadsServicer(rpc.ThreadsServiceServicer):
    """Keeps threads and their items in a store."""

    def __init__(self, store: Store, clock: Clock, metrics: EdgeMetrics, retention: Retention) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._retention = retention

    async def ResolveThread(self, request: pb.ResolveThreadRequest, context: Context) -> pb.ResolveThreadResponse:
        """Find the thread of a key, or make it."""
        key = plain(request.key, field="key")
        resolved = await resolve(
            key,
            metadata=dict(request.metadata),
            store=self._store,
            tenant=tenant_of(request) or "",
            limit=request.stored_bytes_limit,
        )
        return pb.ResolveThreadResponse(thread=encode_thread(resolved.thread), created=resolved.created)

    async def CreateThread(self, request: pb.CreateThreadRequest, context: Context) -> pb.CreateThreadResponse:
        """Make a thread without a key, with its first items."""
        limit = taken_limit(request)
        new = decode_new_thread(request, fingerprint=digest(request), limit=limit)
        created = await create_thread(new, store=self._store)
        return pb.CreateThreadResponse(thread=encode_thread(created.thread), replayed=created.replayed)

    async def UpdateThread(self, request: pb.UpdateThreadRequest, context: Context) -> pb.UpdateThreadResponse:
        """Replace what describes a thread."""
        await require_thread(request, self._store)
        thread = await update_thread(request.thread_id, metadata=dict(request.metadata), store=self._store)
        return pb.UpdateThreadResponse(thread=encode_thread(thread))

    async def GetThread(self, request: pb.GetThreadRequest, context: Context) -> pb.GetThreadResponse:
        """Give one thread."""
        return pb.GetThreadResponse(thread=encode_thread(await visible_thread(request, self._store)))

    async def ListThreads(self, request: pb.ListThreadsRequest, context: Context) -> pb.ListThreadsResponse:
        """List threads, the latest used first."""
        if request.key:
            only = await find(request.key, store=self._store, tenant=tenant_of(request) or "")
            return pb.ListThreadsResponse(threads=[encode_thread(only)] if only else ())
        wanted, after = decode_wanted(request), decode_page_token(request.page_token)
        if request.after_thread_id and after is None:
            after = await place_of(request.after_thread_id, tenant=wanted.tenant, store=self._store)
        page = await list_threads(wanted, after=after, limit=request.page_size or _THREADS, store=self._store)
        return pb.ListThreadsResponse(
            threads=map(encode_thread, page.threads),
            next_page_token=encode_page_token(page.next.time, page.next.id) if page.next else "",
        )

    async def DeleteThread(self, request: pb.DeleteThreadRequest, context: Context) -> pb.DeleteThreadResponse:
        """Forget a thread with all its items and runs."""
        await require_thread(request, self._store)
        await delete(request.thread_id, store=self._store)
        return pb.DeleteThreadResponse()

    async def AppendItems(self, request: pb.AppendItemsRequest, context: Context) -> pb.AppendItemsResponse:
        """Add items to a thread without running a model."""
        await require_thread(request, self._store)
        limit = taken_limit(request)
        appended = await append_items(
            request.thread_id,
            tuple(map(decode_told, request.items)),
            request_id=plain(request.request_id, field="request_id"),
            fingerprint=digest(request),
            store=self._store,
            tenant=tenant_of(request) or "",
            limit=limit,
        )
        asked = any(item.pinned for item in request.items)
        pinned = (await self._store.thread(request.thread_id)).pinned if asked else ()
        items = [encode_item(each, pinned=each.sequence in pinned) for each in appended.items]
        return pb.AppendItemsResponse(items=items, replayed=appended.replayed)

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        """Give one item of a thread."""
        thread = await visible_thread(request, self._store)
        item = await item_of(thread.id, request.sequence, store=self._store)
        return pb.GetItemResponse(item=encode_item(item, pinned=item.sequence in thread.pinned))

    async def DeleteItem(self, request: pb.DeleteItemRequest, context: Context) -> pb.DeleteItemResponse:
        """Forget an item of a thread, or a part of it."""
        await require_thread(request, self._store)
        remaining = decode_message(request.remaining) if request.HasField("remaining") else None
        thread = await delete_item(request.thread_id, request.sequence, remaining=remaining, store=self._store)
        return pb.DeleteItemResponse(thread=encode_thread(thread))

    async def PinItem(self, request: pb.PinItemRequest, context: Context) -> pb.PinItemResponse:
        """Make an item part of every window."""
        await require_thread(request, self._store)
        thread = await pin(request.thread_id, request.sequence, store=self._store)
        return pb.PinItemResponse(thread=encode_thread(thread))

    async def UnpinItem(self, request: pb.UnpinItemRequest, context: Context) -> pb.UnpinItemResponse:
        """Take an item out of every window."""
        await require_thread(request, self._store)
        thread = await unpin(request.thread_id, request.sequence, store=self._store)
        return pb.UnpinItemResponse(thread=encode_thread(thread))

    async def AppendSummary(self, request: pb.AppendSummaryRequest, context: Context) -> pb.AppendSummaryResponse:
        """Add a model's words that stand for older items."""
        await require_thread(request, self._store)
        new = decode_summary(request, fingerprint=digest(request))
        item = await append_summary(request.thread_id, new, store=self._store)
        return pb.AppendSummaryResponse(item=encode_item(item))

    async def ImportThread(self, request: pb.ImportThreadRequest, context: Context) -> pb.ImportThreadResponse:
        """Add a history to the thread of a key."""
        imported = await import_thread(decode_history(request), store=self._store)
        return pb.ImportThreadResponse(thread=encode_thread(imported.thread), added=imported.added)

    async def PruneThreads(self, request: pb.PruneThreadsRequest, context: Context) -> pb.PruneThreadsResponse:
        """Apply the retention rules to a page of threads."""
        swept = await prune_threads(
            self._retention.rules,
            now=self._clock.now(),
            after=decode_page_token(request.page_token),
            store=self._store,
            dry_run=request.dry_run,
        )
        return pb.PruneThreadsResponse(
            threads=map(encode_removal, swept.removals),
            next_page_token=encode_page_token(swept.next.time, swept.next.id) if swept.next else "",
        )

    async def GetRetention(self, request: pb.GetRetentionRequest, context: Context) -> pb.GetRetentionResponse:
        """Give the retention rule of a thread."""
        thread = await visible_thread(request, self._store)
        return encode_rule(rule_for(thread.key, self._retention.rules))

    async def PruneThread(self, request: pb.PruneThreadRequest, context: Context) -> pb.PruneThreadResponse:
        """Remove the beginning of a thread."""
        await require_thread(request, self._store)
        items = await prune_thread(
            request.thread_id,
            decode_limits(request.limits),
            now=self._clock.now(),
            store=self._store,
            dry_run=request.dry_run,
        )
        return pb.PruneThreadResponse(items=items)

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        """List the items of a thread in the order of their sequence."""
        size = request.page_size or _ITEMS
        after = min(request.after_sequence, _HIGHEST) if request.HasField("after_sequence") else None
        thread = await visible_thread(request, self._store)
        found = await self._store.items(thread.id, after=after, limit=size + 1, descending=request.descending)
        pinned = set(thread.pinned)
        items = fitting(encode_item(item, pinned=item.sequence in pinned) for item in found[:size])
        return pb.ListItemsResponse(items=items, has_more=len(found) > len(items))

    async def AssembleWindow(self, request: pb.AssembleWindowRequest, context: Context) -> pb.AssembleWindowResponse:
        """Give the newest part of a thread that fits a token budget."""
        await require_thread(request, self._store)
        with self._metrics.window_seconds.time():
            window = await read_window(
                request.thread_id,
                budget=request.token_budget,
                run_id=request.run_id,
                threads=self._store,
                runs=self._store,
                shorten_input=request.shorten_input,
            )
        self._metrics.window_tokens.observe(window.tokens)
        return encode_window(window)

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        """Give how much a tenant has stored."""
        return pb.GetUsageResponse(stored_bytes=await self._store.stored(tenant_of(request) or ""))
