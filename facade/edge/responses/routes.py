"""`/v1/responses`: start a run, and show it in the words of responses."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from facade.domain.limits import Mesh
from facade.domain.parameters import TurnParameters
from facade.domain.threads import Threads
from facade.edge import examples
from facade.edge.answering import Answering
from facade.edge.answers.common import Deleted, ItemPage
from facade.edge.answers.responses import ResponseAnswer
from facade.edge.body import read
from facade.edge.controls import DESCRIBED, controls
from facade.edge.ignored import name_also, named
from facade.edge.keys import offered_tools, require
from facade.edge.leaving import LEFT
from facade.edge.openapi import answer as answered
from facade.edge.openapi import request_body
from facade.edge.paging import Limit, Order, page
from facade.edge.readers import Reader
from facade.edge.responses.approvals import answer, asked_run, require_ended, says_more, unanswered
from facade.edge.responses.beginning import Beginning, ResponseOptions
from facade.edge.responses.decode import is_alone, require_input
from facade.edge.responses.echo import other_wishes
from facade.edge.responses.entries import Entries
from facade.edge.responses.events import blocks, last_number
from facade.edge.responses.found import Found, Shown
from facade.edge.responses.include import check_query
from facade.edge.responses.input_items import McpApprovalItem
from facade.edge.responses.listed import input_items
from facade.edge.responses.names import FROM_THE_BEGINNING, Part
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.stored import Echo
from facade.edge.responses.waits import told_before
from facade.edge.responses.whole import collected, json_response, present
from facade.edge.responses.written import written
from threadmesh.errors import InvalidArgument, NotFound, PreconditionFailed
from threadmesh.keys.key import Scope
from threadmesh.telemetry.logs import bound_ids

Number = Annotated[int, Query(ge=0)]


class Responses:
    """Answers requests for responses."""

    def __init__(self, mesh: Mesh, threads: Threads, answering: Answering, options: ResponseOptions) -> None:
        self._context, self._threads = mesh.context, threads
        self._found, self._beginning = Found(mesh.context), Beginning(mesh, threads, options)
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
        require_input(asked)
        offered = offered_tools(request, self._options.default_tools)
        place = await self._beginning.conversation(asked, request)
        control = controls(request.headers, asked.metadata or {}, default_tools=offered, conversation=place)
        previous = await self._beginning.previous(asked, request)
        places = written(asked)
        asked = await self._beginning.whole(asked, control, previous, request)
        if answers := unanswered(asked.input):
            more = says_more(asked.input, answers, alone=is_alone(asked, control))
            followed = await self._go_on(answers, asked, request, more=more)
            if followed is not None:
                return followed
        new = await self._beginning.run(asked, control, previous, request, written=places)
        # Where something was said behind it since, this is another way to go on.
        elsewhere = partial(self._beginning.apart, new, asked, previous) if previous else None
        run, replayed = await self._answering.start(new, request, elsewhere=elsewhere)
        # What an earlier sending was told of the servers' tools may not be what they offer now.
        echo = Echo.from_json(TurnParameters.from_json(run.parameters_json).response_json)
        reader = Reader.of(replayed=replayed, stops=control.cancel_on_disconnect and not asked.background)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            response = await self._answer(Shown(run, echo, Part(run_id=run.id)), asked, request, reader=reader)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        if replayed:
            response.headers["idempotent-replayed"] = "true"
        return response

    async def _go_on(
        self, answers: Sequence[McpApprovalItem], asked: ResponseRequest, request: Request, *, more: bool
    ) -> Response | None:
        """Let the run that waits for these answers go on, as it was asked for; what follows is the response.

        What the request wants otherwise is named in `x-threadmesh-ignored`. None if there is `more` to answer, and the
        calls in question have ended. Raises `InvalidArgument` if they have not.
        """
        require(request, Scope.RUNS_WRITE)
        run_id, by_call = asked_run(answers)
        try:
            run, echo = await self._found.run(run_id, request)
        except NotFound as error:
            raise InvalidArgument("Nobody asked that.", field="input", kind="approval_not_found") from error
        if more:
            await require_ended(run, by_call, self._context)
            return None
        name_also(request.state.headers, other_wishes(asked, echo))
        part = await answer(run, by_call, self._context)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            response = await self._answer(Shown(run, echo, part), asked, request, reader=Reader.WATCHER)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        return response

    async def get(
        self,
        request: Request,
        response: str,
        stream: bool = False,  # noqa: FBT001, FBT002  # FastAPI's way
        starting_after: Number | None = None,
        include_obfuscation: bool = False,  # noqa: FBT001, FBT002  # FastAPI's way
    ) -> Response:
        """Give a response as it is now, or go on with its stream behind an event; what was computed is shown anyway."""
        in_vain = check_query(request) + ["include_obfuscation"] * include_obfuscation
        request.state.headers.update(named(in_vain))
        shown = await self._found.response(response, request)
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
            reader=Reader.WATCHER,
            failures_inside=True,
        )

    async def _require_behind(self, shown: Shown, place: int) -> None:
        log = self._context.watch(shown.run.id)
        if place > (last := await last_number(shown.run, log, shown.echo, shown.part)):
            message = f"starting_after is ahead of the stream, whose last event so far is {last}."
            raise InvalidArgument(message, field="starting_after", kind="event_id_ahead")

    async def cancel(self, request: Request, response: str) -> Response:
        """Stop a response that is made in the background."""
        shown = await self._found.response(response, request)
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
        """List what the model was told for a response, or will be once it has its turn, as items."""
        request.state.headers.update(named(check_query(request)))
        shown = await self._found.response(response, request)
        said = await self._context.said_until(shown.run)
        thread = await self._threads.thread(shown.run.thread_id, tenant=request.state.tenant)
        entries = Entries(self._context, self._threads, thread)
        items = await input_items(shown.run, said, entries)
        items += await told_before(shown.part, shown.run, shown.echo, self._context)
        return page(items, limit=limit, order=order, after=after)

    async def delete(self, request: Request, response: str) -> dict[str, Any]:
        """Delete a response, with the last of its thread that too; one in a named thread is left alone."""
        shown = await self._found.response(response, request)
        thread = await self._threads.thread(shown.run.thread_id, tenant=request.state.tenant)
        if not thread.ephemeral:
            raise PreconditionFailed("This response is part of a conversation; delete its items, or the conversation.")
        runs, _ = await self._context.runs(None, thread_id=thread.id, after="", limit=2, tenant=thread.tenant)
        if len(runs) > 1:
            await self._context.delete(shown.run)
        else:
            await self._threads.delete(thread.id, tenant=thread.tenant)
        return {"id": response, "object": "response", "deleted": True}

    async def _answer(self, shown: Shown, asked: ResponseRequest, request: Request, *, reader: Reader) -> Response:
        run, echo, part = shown.run, shown.echo, shown.part
        log = self._context.watch(run.id)
        if asked.stream:
            shows = lambda events: blocks(run, events, echo, part)  # noqa: E731  # it is short
            return await self._answering.stream(run, log, request, shows, reader=reader)
        if asked.background and echo.background:
            return json_response(await present(replace(run, next_sequence=0), log, echo, part))
        collecting = collected(run, log, echo, part)
        return await self._answering.unless_left(run, request, collecting, reader=reader) or LEFT
