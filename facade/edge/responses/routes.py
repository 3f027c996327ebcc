"""`/v1/responses`: start a run, and show it in the words of responses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from facade.domain.events import Run
from facade.domain.limits import Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.records import NewRun
from facade.domain.threads import Threads
from facade.edge import examples
from facade.edge.answering import Answering
from facade.edge.answers.common import Deleted, ItemPage
from facade.edge.answers.responses import ResponseAnswer
from facade.edge.body import read
from facade.edge.controls import DESCRIBED, Controls, controls
from facade.edge.conversations.names import find
from facade.edge.keys import offered_tools, require
from facade.edge.leaving import LEFT
from facade.edge.openapi import answer as answered
from facade.edge.openapi import request_body
from facade.edge.paging import Limit, Order, page
from facade.edge.responses.approvals import answer, asked_run
from facade.edge.responses.decode import Asked, approvals, needs_catalogue, new_run
from facade.edge.responses.events import blocks, last_number
from facade.edge.responses.input_items import McpApprovalItem
from facade.edge.responses.listed import input_items
from facade.edge.responses.names import FROM_THE_BEGINNING, Part, read_response_id
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.stored import Echo
from facade.edge.responses.whole import collected, json_response, present
from threadmesh.conversation import Message
from threadmesh.errors import InvalidArgument, NotFound, PreconditionFailed, RunNotFound
from threadmesh.keys.key import Scope
from threadmesh.telemetry.logs import bound_ids

Number = Annotated[int, Query(ge=0)]


class ResponseNotFound(NotFound):
    """There is no such response, or it is another key's."""

    reason = "RESPONSE_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOptions:
    """How responses behave here."""

    default_tools: str
    run_seconds: float
    share_prompts: bool


def _apart(new: NewRun, before: Sequence[Message]) -> NewRun:
    """Let a run go on behind a copy of what was said before, in a thread of its own."""
    echo = Echo.from_json(new.parameters.response_json)
    longer = replace(echo, inputs=echo.inputs + len(before))
    parameters = replace(new.parameters, response_json=longer.to_json())
    return replace(new, input=(*before, *new.input), parameters=parameters, thread_id="", thread_key="")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a response shows: a part of a run, and what is kept of its request."""

    run: Run
    echo: Echo
    part: Part


class Responses:
    """Answers requests for responses."""

    def __init__(self, mesh: Mesh, threads: Threads, answering: Answering, options: ResponseOptions) -> None:
        self._context, self._tools = mesh.context, mesh.tools
        self._threads = threads
        self._answering = answering
        self._options = options

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/responses", tags=["responses"])
        whole = answered(ResponseAnswer, stream=examples.RESPONSE_STREAM)
        routes.add_api_route(
            "",
            self.create,
            methods=["POST"],
            summary="Answer, in the words of responses",
            responses=whole,
            openapi_extra=request_body(ResponseRequest, examples.RESPONSE) | DESCRIBED,
        )
        routes.add_api_route(
            "/{response}",
            self.get,
            methods=["GET"],
            summary="Get a response, or go on with its stream",
            responses=whole,
        )
        routes.add_api_route(
            "/{response}", self.delete, methods=["DELETE"], summary="Delete a response", responses=answered(Deleted)
        )
        routes.add_api_route(
            "/{response}/input_items",
            self.input_items,
            methods=["GET"],
            summary="List the input",
            responses=answered(ItemPage),
        )
        routes.add_api_route(
            "/{response}/cancel",
            self.cancel,
            methods=["POST"],
            summary="Stop a background response",
            responses=answered(ResponseAnswer),
        )
        return routes

    async def create(self, request: Request) -> Response:
        """Answer, as a whole, as a stream, or in the background."""
        asked = await read(request, ResponseRequest)
        offered = offered_tools(request, self._options.default_tools)
        place = await self._conversation(asked, request)
        control = controls(request.headers, asked.metadata or {}, default_tools=offered, conversation=place)
        if answers := approvals(asked):
            return await self._go_on(answers, asked, request)
        new = await self._new(asked, control, request)
        run, replayed = await self._answering.start(new, request)
        echo = Echo.from_json(new.parameters.response_json)
        cancel = control.cancel_on_disconnect and not asked.background
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            response = await self._answer(Shown(run, echo, Part(run_id=run.id)), asked, request, cancel=cancel)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        if ignored := asked.ignored():
            response.headers["x-threadmesh-ignored"] = ", ".join(filter(str.isascii, ignored))[:1024]
        if replayed:
            response.headers["idempotent-replayed"] = "true"
        return response

    async def _go_on(self, answers: Sequence[McpApprovalItem], asked: ResponseRequest, request: Request) -> Response:
        """Let the run that waits for these answers go on; what follows is the response."""
        require(request, Scope.RUNS_WRITE)
        run_id, by_call = asked_run(answers)
        try:
            run, echo = await self._owned(request, run_id)
        except NotFound as error:
            raise InvalidArgument("Nobody asked that.", field="input", kind="approval_not_found") from error
        part = await answer(run, by_call, self._context)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            response = await self._answer(Shown(run, echo, part), asked, request, cancel=False)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        return response

    async def get(
        self,
        request: Request,
        response: str,
        stream: bool = False,  # noqa: FBT001, FBT002  # FastAPI's way
        starting_after: Number | None = None,
    ) -> Response:
        """Give a response as it is now, or go on with its stream behind an event."""
        shown = await self._stored(request, response)
        after = FROM_THE_BEGINNING if starting_after is None else starting_after
        log = self._context.watch(shown.run.id)
        if not stream:
            return json_response(await present(shown.run, log, shown.echo, shown.part))
        if starting_after is not None:
            await self._require_behind(shown, starting_after)
        return await self._answering.stream(
            shown.run,
            log,
            request,
            lambda events: blocks(shown.run, events, shown.echo, shown.part, after=after),
            cancel_on_disconnect=False,
            failures_inside=True,
        )

    async def _require_behind(self, shown: Shown, place: int) -> None:
        log = self._context.watch(shown.run.id)
        if place > (last := await last_number(shown.run, log, shown.echo, shown.part)):
            message = f"starting_after is ahead of the stream, whose last event so far is {last}."
            raise InvalidArgument(message, field="starting_after", kind="event_id_ahead")

    async def cancel(self, request: Request, response: str) -> Response:
        """Stop a response that is made in the background."""
        shown = await self._stored(request, response)
        if not shown.echo.background:
            raise InvalidArgument("Only a response made in the background can be cancelled.", field="response_id")
        await self._context.cancel(shown.run.id)
        async for events in self._context.watch(shown.run.id):
            del events  # until its writer has stopped
        run = await self._context.run(shown.run.id)
        return json_response(await present(run, self._context.watch(run.id), shown.echo, shown.part))

    async def input_items(
        self, request: Request, response: str, limit: Limit = 20, order: Order = "desc", after: str = ""
    ) -> dict[str, Any]:
        """List what the model was told for a response, as items."""
        shown = await self._stored(request, response)
        said = await self._context.said_until(shown.run)
        return page(input_items(shown.run, shown.echo, said), limit=limit, order=order, after=after)

    async def delete(self, request: Request, response: str) -> dict[str, Any]:
        """Delete a response with the thread that was made for it; one that was named is left alone."""
        shown = await self._stored(request, response)
        thread = await self._threads.thread(shown.run.thread_id, tenant=request.state.tenant)
        if not thread.ephemeral:
            raise PreconditionFailed("This response is part of a conversation; delete its items, or the conversation.")
        await self._threads.delete(thread.id, tenant=thread.tenant)
        return {"id": response, "object": "response", "deleted": True}

    async def _new(self, asked: ResponseRequest, control: Controls, request: Request) -> NewRun:
        key = request.state.key
        catalogue = await self._tools.catalogue() if needs_catalogue(asked) else ()
        previous = await self.previous(asked.previous_response_id, request)
        new = new_run(
            Asked(request=asked, control=control, catalogue=catalogue),
            tenant=request.state.tenant,
            cache_scope="" if self._options.share_prompts else key,
            timeout_seconds=self._options.run_seconds,
        )
        if previous is None:
            return new
        if await self._context.latest(previous.thread_id) == previous.id:
            return replace(new, thread_id=previous.thread_id, thread_key="")
        # Something was said behind it since: this is another way to go on, in a thread of its own.
        before = await self._context.said_until(previous)
        return _apart(new, [each.message for each in before])

    async def _conversation(self, asked: ResponseRequest, request: Request) -> str:
        """Give the id of the thread that the request goes on with as a conversation; empty if with none."""
        named = asked.conversation_named()
        return (await find(self._threads, named["id"], tenant=request.state.tenant)).id if named else ""

    async def previous(self, response: str | None, request: Request) -> Run | None:
        """Give the run that a request goes on behind, if it names one. Raises `InvalidArgument`."""
        if response is None:
            return None
        try:
            return (await self._stored(request, response)).run
        except NotFound as error:
            raise InvalidArgument(
                f"There is no response {response}.",
                field="previous_response_id",
                kind="previous_response_not_found",
            ) from error

    async def _stored(self, request: Request, response: str) -> Shown:
        part = read_response_id(response)
        if part is None:
            raise ResponseNotFound
        run, echo = await self._owned(request, part.run_id)
        return Shown(run, echo, part)

    async def _owned(self, request: Request, run_id: str) -> tuple[Run, Echo]:
        """Give a run that is a stored response of this tenant, and what is kept with it."""
        try:
            run = await self._context.run(run_id, tenant=request.state.tenant)
        except RunNotFound as error:
            raise ResponseNotFound from error
        parameters = TurnParameters.from_json(run.parameters_json)
        if not parameters.response_json:
            raise ResponseNotFound
        echo = Echo.from_json(parameters.response_json)
        if not echo.stored and run.id not in getattr(request.state, "connection_runs", ()):
            raise ResponseNotFound
        return run, echo

    async def _answer(self, shown: Shown, asked: ResponseRequest, request: Request, *, cancel: bool) -> Response:
        run, echo, part = shown.run, shown.echo, shown.part
        log = self._context.watch(run.id)
        if asked.stream:
            shows = lambda events: blocks(run, events, echo, part)  # noqa: E731  # it is short
            return await self._answering.stream(run, log, request, shows, cancel_on_disconnect=cancel)
        if asked.background:
            return json_response(await present(replace(run, next_sequence=0), log, echo, part))
        collecting = collected(run, log, echo, part)
        return await self._answering.unless_left(run, request, collecting, cancel_on_disconnect=cancel) or LEFT
