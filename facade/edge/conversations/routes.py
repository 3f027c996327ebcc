"""`/v1/conversations`: make threads, look at what was said in them, and change it."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from facade.domain.ports import Context
from facade.domain.threads import NewThread, Thread, Threads
from facade.edge import examples
from facade.edge.answers.common import Deleted, ItemPage
from facade.edge.answers.kept import ConversationAnswer, ItemAnswer
from facade.edge.body import read
from facade.edge.controls import controls, replayed_header
from facade.edge.conversations import pages
from facade.edge.conversations.names import conversation_body, find
from facade.edge.conversations.schemas import ConversationUpdate, NewConversation, NewItems
from facade.edge.keys import stored_limit
from facade.edge.openapi import answer, request_body
from facade.edge.paging import Limit, Order, listing
from facade.edge.responses.decode import unasked_results
from facade.edge.responses.entries import Entries
from facade.edge.responses.include import check_query
from facade.edge.responses.input_items import InputItem, SaidItem
from facade.edge.responses.messages import messages_of
from facade.edge.responses.references import References
from facade.edge.tool_results import refuse, require_calls
from threadmesh.errors import InvalidArgument

_ONE = "/{conversation}"
_ITEMS = "/{conversation}/items"
_ITEM = "/{conversation}/items/{item}"


class Conversations:
    """Answers requests about conversations; those of other tenants are not found."""

    def __init__(self, context: Context, threads: Threads) -> None:
        self._context, self._threads = context, threads
        self._references = References(context, threads)

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/conversations", tags=["conversations"])
        for path, reply, method, summary, model in (
            (_ONE, self.get, "GET", "Get a conversation", ConversationAnswer),
            (_ONE, self.delete, "DELETE", "Delete a conversation with its items", Deleted),
            (_ITEMS, self.items, "GET", "List the items of a conversation", ItemPage),
            (_ITEM, self.item, "GET", "Get an item of a conversation", ItemAnswer),
            (_ITEM, self.delete_item, "DELETE", "Delete an item of a conversation", ConversationAnswer),
        ):
            routes.add_api_route(path, reply, methods=[method], summary=summary, responses=answer(model))
        for path, write, summary, model, body in (
            (
                "",
                self.create,
                "Make a conversation",
                ConversationAnswer,
                request_body(NewConversation, examples.CONVERSATION, optional=True),
            ),
            (
                _ONE,
                self.update,
                "Describe a conversation anew",
                ConversationAnswer,
                request_body(ConversationUpdate, examples.CONVERSATION_UPDATE),
            ),
            (
                _ITEMS,
                self.add,
                "Add items to a conversation",
                ItemPage,
                request_body(NewItems, examples.CONVERSATION_ITEMS),
            ),
        ):
            routes.add_api_route(
                path, write, methods=["POST"], summary=summary, responses=answer(model), openapi_extra=body
            )
        return routes

    async def create(self, request: Request) -> dict[str, Any]:
        """Make a conversation."""
        asked = await read(request, NewConversation, optional=True)
        items = await self._followed(asked.items or (), request)
        messages = messages_of(items)
        refuse(unasked_results(items))
        new = NewThread(
            metadata=asked.metadata or {},
            messages=messages,
            request_id=_request_id(request),
            stored_limit=stored_limit(request),
        )
        thread, replayed = await self._threads.create(new, tenant=request.state.tenant)
        request.state.headers.update(replayed_header(replayed=replayed))
        return conversation_body(thread)

    async def get(self, request: Request, conversation: str) -> dict[str, Any]:
        """Give a conversation."""
        return conversation_body(await self._find(request, conversation))

    async def update(self, request: Request, conversation: str) -> dict[str, Any]:
        """Replace the metadata of a conversation."""
        asked = await read(request, ConversationUpdate)
        thread = await self._find(request, conversation)
        return conversation_body(await self._threads.update(thread.id, asked.metadata or {}, tenant=thread.tenant))

    async def delete(self, request: Request, conversation: str) -> dict[str, Any]:
        """Delete a conversation."""
        thread = await self._find(request, conversation)
        await self._threads.delete(thread.id, tenant=thread.tenant)
        return {"id": conversation, "object": "conversation.deleted", "deleted": True}

    async def add(self, request: Request, conversation: str) -> dict[str, Any]:
        """Add items behind the others."""
        check_query(request)
        asked = await read(request, NewItems)
        items = await self._followed(asked.items, request)
        messages = messages_of(items)
        if not messages:
            raise InvalidArgument("None of these items says anything to a model.", field="items")
        thread = await self._find(request, conversation)
        await require_calls(unasked_results(items), self._threads, tenant=thread.tenant, thread_id=thread.id)
        said, replayed = await self._threads.append(
            thread.id,
            messages,
            request_id=_request_id(request),
            tenant=thread.tenant,
            stored_limit=stored_limit(request),
        )
        request.state.headers.update(replayed_header(replayed=replayed))
        shown = self._shown(thread)
        return listing([item for entry in said for item in await shown.items(entry)], has_more=False)

    async def items(
        self, request: Request, conversation: str, limit: Limit = 20, order: Order = "desc", after: str = ""
    ) -> dict[str, Any]:
        """List items, the newest first unless said otherwise."""
        check_query(request)
        thread = await self._find(request, conversation)
        wish = pages.Wish(limit=limit, order=order, after=after)
        return await pages.page(self._threads, thread, self._shown(thread), wish)

    async def item(self, request: Request, conversation: str, item: str) -> dict[str, Any]:
        """Give an item."""
        check_query(request)
        _, found = await self._shown(await self._find(request, conversation)).item(item)
        return found

    async def delete_item(self, request: Request, conversation: str, item: str) -> dict[str, Any]:
        """Delete an item; what was said with it stays."""
        thread = await self._find(request, conversation)
        await self._shown(thread).delete(item)
        return conversation_body(thread)

    async def _followed(self, items: Sequence[SaidItem], request: Request) -> Sequence[InputItem]:
        """Give items with those that are named by their ids. Raises `ItemNotFound`."""
        return await self._references.followed(items, request, field="items")

    def _shown(self, thread: Thread) -> Entries:
        return Entries(self._context, self._threads, thread)

    async def _find(self, request: Request, conversation: str) -> Thread:
        return await find(self._threads, conversation, tenant=request.state.tenant)


def _request_id(request: Request) -> str:
    return controls(request.headers, {}, default_tools="").idempotency_key
