"""`/v1/chat/completions` that are stored: list them, look at one, describe it anew, delete it."""

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from facade.domain.threads import Threads
from facade.edge import examples
from facade.edge.answers.chat import Completion
from facade.edge.answers.common import Deleted
from facade.edge.answers.kept import CompletionPage, MessagePage
from facade.edge.body import read
from facade.edge.chat.encode import completion_id
from facade.edge.chat.fields import Schema
from facade.edge.chat.kept import Shelf
from facade.edge.chat.messages import message_body
from facade.edge.chat.schemas import Metadata
from facade.edge.openapi import answer, request_body
from facade.edge.paging import Limit, Order, listing, page
from threadmesh.errors import InvalidArgument, NotFound

_MOST = 100
_ONE = "/{completion}"


class CompletionUpdate(Schema):
    """The body of `POST /v1/chat/completions/{id}`."""

    metadata: Metadata | None = Field(description="Replaces all that there was; null leaves none.")


class StoredCompletions:
    """Answers requests about stored completions; those of other tenants are not found."""

    def __init__(self, shelf: Shelf, threads: Threads) -> None:
        self._shelf = shelf
        self._threads = threads

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/chat/completions", tags=["chat"])
        for path, reply, method, summary, model in (
            ("", self.list, "GET", "List stored completions", CompletionPage),
            (_ONE, self.get, "GET", "Get a stored completion", Completion),
            (_ONE, self.delete, "DELETE", "Delete a stored completion with its messages", Deleted),
            (
                f"{_ONE}/messages",
                self.messages,
                "GET",
                "List the messages that a stored completion answers",
                MessagePage,
            ),
        ):
            routes.add_api_route(path, reply, methods=[method], summary=summary, responses=answer(model))
        routes.add_api_route(
            _ONE,
            self.update,
            methods=["POST"],
            summary="Describe a stored completion anew",
            responses=answer(Completion),
            openapi_extra=request_body(CompletionUpdate, examples.COMPLETION_UPDATE),
        )
        return routes

    async def list(
        self, request: Request, model: str = "", after: str = "", limit: Limit = 20, order: Order = "asc"
    ) -> dict[str, Any]:
        """List completions by their age; `metadata[name]=value` keeps those that have it.

        Their threads and they themselves are read as far as the page goes. Those of another `model` are read as well.
        """
        tenant, metadata = request.state.tenant, _metadata(request)
        last = await self._thread_of(after, tenant=tenant) if after else ""
        bodies: list[dict[str, Any]] = []
        async with aclosing(self._shelf.listed(metadata, order=order, after=last, tenant=tenant)) as threads:
            async for thread in threads:
                kept = await self._shelf.of(thread)
                body = await self._shelf.body(kept) if kept else None
                if body and model in ("", body["model"]):
                    bodies.append(body)
                if len(bodies) > limit:
                    break
        return listing(bodies[:limit], has_more=len(bodies) > limit)

    async def _thread_of(self, after: str, *, tenant: str) -> str:
        try:
            return (await self._shelf.find(after, tenant=tenant)).thread.id
        except NotFound as error:
            raise InvalidArgument("after names no stored completion.", field="after") from error

    async def get(self, request: Request, completion: str) -> dict[str, Any]:
        """Give a completion."""
        return await self._shelf.body(await self._shelf.find(completion, tenant=request.state.tenant))

    async def update(self, request: Request, completion: str) -> dict[str, Any]:
        """Replace the metadata of a completion."""
        asked = await read(request, CompletionUpdate)
        kept = await self._shelf.find(completion, tenant=request.state.tenant)
        metadata = asked.metadata or {}
        await self._threads.update(kept.thread.id, metadata, tenant=kept.thread.tenant)
        return {**await self._shelf.body(kept), "metadata": metadata}

    async def delete(self, request: Request, completion: str) -> dict[str, Any]:
        """Delete a completion."""
        kept = await self._shelf.find(completion, tenant=request.state.tenant)
        await self._threads.delete(kept.thread.id, tenant=kept.thread.tenant)
        return {"object": "chat.completion.deleted", "id": completion, "deleted": True}

    async def messages(
        self, request: Request, completion: str, after: str = "", limit: Limit = 20, order: Order = "asc"
    ) -> dict[str, Any]:
        """List the messages of the request."""
        kept = await self._shelf.find(completion, tenant=request.state.tenant)
        name = completion_id(kept.run)
        said = await self._shelf.messages(kept)
        messages = [{"id": f"{name}-{entry.sequence}", **message_body(entry.message)} for entry in said]
        return page(messages, limit=limit, order=order, after=after)


def _metadata(request: Request) -> dict[str, str]:
    """Read `metadata[name]=value`, as OpenAI's clients write objects."""
    given = request.query_params.multi_items()
    return {name[9:-1]: value for name, value in given if name.startswith("metadata[") and name.endswith("]")}
