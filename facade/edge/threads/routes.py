"""`/v1/threads`: find threads, describe them, pin what models must not forget, and say what is kept."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from facade.domain.curation import Curation, Retention
from facade.domain.ports import Context
from facade.domain.threads import NewThread as Unnamed
from facade.domain.threads import Thread, Threads, Wanted
from facade.edge import examples
from facade.edge.answers.common import Deleted
from facade.edge.answers.threads import PrunedAnswer, RetentionAnswer, ThreadAnswer, ThreadPage
from facade.edge.body import read
from facade.edge.controls import controls, replayed_header
from facade.edge.keys import stored_limit
from facade.edge.openapi import answer, request_body
from facade.edge.paging import Limit, Order
from facade.edge.threads.encode import pruned_body, retention_body, thread_body
from facade.edge.threads.names import find, number_of
from facade.edge.threads.schemas import NewThread, PruneRequest, ThreadUpdate, asked_key
from threadmesh.errors import InvalidArgument

_ONE = "/{thread_id}"
_ITEM = "/{thread_id}/items/{item}"
Key = Annotated[str, Query(max_length=512)]


class ThreadKeeping:
    """Answers requests about threads that ask no model; those of other tenants are not found."""

    def __init__(self, context: Context, threads: Threads, curation: Curation) -> None:
        self._context, self._threads, self._curation = context, threads, curation

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/threads", tags=["threads"])
        for path, reply, method, summary, model in (
            ("", self.list, "GET", "List threads by their use, the latest first unless said otherwise", ThreadPage),
            (_ONE, self.get, "GET", "Get a thread", ThreadAnswer),
            (_ONE, self.delete, "DELETE", "Delete a thread with its items and runs", Deleted),
            (f"{_ITEM}/pin", self.pin, "POST", "Make an item part of all that models read", ThreadAnswer),
            (f"{_ITEM}/unpin", self.unpin, "POST", "Let an item go when there is no room for it", ThreadAnswer),
            (f"{_ONE}/retention", self.retention, "GET", "Say how long a thread is kept", RetentionAnswer),
        ):
            routes.add_api_route(path, reply, methods=[method], summary=summary, responses=answer(model))
        made = request_body(NewThread, examples.THREAD, optional=True)
        described = request_body(ThreadUpdate, examples.THREAD_UPDATE)
        pruned = request_body(PruneRequest, examples.PRUNE)
        for path, write, summary, told, body in (
            ("", self.make, "Find the thread of a key, or make one", ThreadAnswer, made),
            (_ONE, self.update, "Describe a thread anew", ThreadAnswer, described),
            (f"{_ONE}/prune", self.prune, "Remove a thread's beginning", PrunedAnswer, pruned),
        ):
            routes.add_api_route(
                path, write, methods=["POST"], summary=summary, responses=answer(told), openapi_extra=body
            )
        return routes

    async def list(
        self,
        request: Request,
        *,
        key: Key = "",
        key_prefix: Key = "",
        after: str = "",
        limit: Limit = 20,
        order: Order = "desc",
    ) -> dict[str, Any]:
        """List threads: those whose key begins with `key_prefix`, or the one that has the `key`."""
        if key and (key_prefix or after):
            raise InvalidArgument("A key names one thread: send neither key_prefix nor after with it.", field="key")
        tenant, more = request.state.tenant, ""
        if key:
            only = await self._threads.of_key(asked_key(key, field="key"), tenant=tenant)
            found = [only] if only else []
        else:
            wanted = Wanted(key_prefix=asked_key(key_prefix, field="key_prefix"), ascending=order == "asc")
            page, more = await self._threads.page(wanted, token=after, limit=limit, tenant=tenant)
            found = [*page]
        threads = [thread_body(thread) for thread in found]
        return {"object": "list", "data": threads, "has_more": bool(more), "after": more or None}

    async def make(self, request: Request) -> dict[str, Any]:
        """Find the thread of a key or make it; without a key, make a thread each time."""
        asked = await read(request, NewThread, optional=True)
        metadata, tenant, limit = asked.metadata or {}, request.state.tenant, stored_limit(request)
        if asked.key:
            return thread_body(await self._threads.resolve(asked.key, metadata, tenant=tenant, stored_limit=limit))
        request_id = controls(request.headers, {}, default_tools="").idempotency_key
        new = Unnamed(metadata=metadata, request_id=request_id, stored_limit=limit)
        thread, replayed = await self._threads.create(new, tenant=tenant)
        request.state.headers.update(replayed_header(replayed=replayed))
        return thread_body(thread)

    async def get(self, request: Request, thread_id: str) -> dict[str, Any]:
        """Give a thread."""
        return thread_body(await self._find(request, thread_id))

    async def update(self, request: Request, thread_id: str) -> dict[str, Any]:
        """Replace the metadata of a thread."""
        asked = await read(request, ThreadUpdate)
        thread = await self._find(request, thread_id)
        return thread_body(await self._threads.update(thread.id, asked.metadata or {}, tenant=thread.tenant))

    async def delete(self, request: Request, thread_id: str) -> dict[str, Any]:
        """Delete a thread."""
        thread = await self._find(request, thread_id)
        await self._threads.delete(thread.id, tenant=thread.tenant)
        return {"id": thread.id, "object": "threadmesh.thread.deleted", "deleted": True}

    async def pin(self, request: Request, thread_id: str, item: str) -> dict[str, Any]:
        """Make an item, with the whole entry and the tool call that it belongs to, part of every window."""
        thread = await self._find(request, thread_id)
        number = await number_of(self._context, self._threads, thread, item)
        return thread_body(await self._curation.pin(thread.id, number, tenant=thread.tenant))

    async def unpin(self, request: Request, thread_id: str, item: str) -> dict[str, Any]:
        """Take an item, with what was pinned with it, out of every window again."""
        thread = await self._find(request, thread_id)
        number = await number_of(self._context, self._threads, thread, item)
        return thread_body(await self._curation.unpin(thread.id, number, tenant=thread.tenant))

    async def retention(self, request: Request, thread_id: str) -> dict[str, Any]:
        """Give the operator's rule for a thread."""
        thread = await self._find(request, thread_id)
        return retention_body(thread, await self._curation.retention(thread.id, tenant=thread.tenant))

    async def prune(self, request: Request, thread_id: str) -> dict[str, Any]:
        """Remove the oldest turns of a thread."""
        asked = await read(request, PruneRequest)
        thread = await self._find(request, thread_id)
        limits = Retention(
            max_age=None if asked.max_age_seconds is None else timedelta(seconds=asked.max_age_seconds),
            max_items=asked.max_items,
            max_tokens=asked.max_tokens,
            only_summarized=asked.only_summarized,
        )
        items = await self._curation.prune(thread.id, limits, dry_run=asked.dry_run, tenant=thread.tenant)
        return pruned_body(thread, items, dry_run=asked.dry_run)

    async def _find(self, request: Request, thread_id: str) -> Thread:
        return await find(self._threads, thread_id, tenant=request.state.tenant)
