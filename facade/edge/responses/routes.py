"""`/v1/responses`: start a run, and show it in the words of responses."""

from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from facade.domain.events import Run
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context, NewRun, Tools
from facade.edge.answering import LEFT, Answering
from facade.edge.body import read
from facade.edge.controls import Controls, controls
from facade.edge.openapi import request_body
from facade.edge.responses.decode import Asked, needs_catalogue, new_run
from facade.edge.responses.events import blocks
from facade.edge.responses.names import run_id
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.stored import Echo
from facade.edge.responses.whole import collected, json_response, present
from threadmesh.errors import InvalidArgument, NotFound, RunNotFound
from threadmesh.telemetry.logs import bound_ids


class ResponseNotFound(NotFound):
    """There is no such response, or it is another key's."""

    reason = "RESPONSE_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOptions:
    """How responses behave here."""

    default_tools: str
    run_seconds: float
    share_prompts: bool


class Responses:
    """Answers requests for responses."""

    def __init__(self, context: Context, tools: Tools, answering: Answering, options: ResponseOptions) -> None:
        self._context = context
        self._tools = tools
        self._answering = answering
        self._options = options

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/responses", tags=["responses"])
        routes.add_api_route(
            "",
            self.create,
            methods=["POST"],
            summary="Answer, in the words of responses",
            openapi_extra=request_body(ResponseRequest),
        )
        routes.add_api_route(
            "/{response}", self.get, methods=["GET"], summary="Get a response, or go on with its stream"
        )
        routes.add_api_route("/{response}", self.delete, methods=["DELETE"], summary="Delete a response")
        routes.add_api_route("/{response}/cancel", self.cancel, methods=["POST"], summary="Stop a background response")
        return routes

    async def create(self, request: Request) -> Response:
        """Answer, as a whole, as a stream, or in the background."""
        asked = await read(request, ResponseRequest)
        control = controls(request.headers, asked.metadata or {}, default_tools=self._options.default_tools)
        new = await self._new(asked, control, request)
        run, replayed = await self._answering.start(new, request)
        echo = Echo.from_json(new.parameters.response_json)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            response = await self._answer(run, echo, asked, request, cancel=_cancels(asked, control))
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        if ignored := asked.ignored():
            response.headers["x-threadmesh-ignored"] = ", ".join(filter(str.isascii, ignored))[:1024]
        if replayed:
            response.headers["idempotent-replayed"] = "true"
        return response

    async def get(self, request: Request, response: str, stream: bool = False, starting_after: int = -1) -> Response:  # noqa: FBT001, FBT002  # FastAPI's way
        """Give a response as it is now, or go on with its stream behind an event."""
        run, echo = await self._stored(request, response)
        log = self._context.watch(run.id)
        if not stream:
            return json_response(await present(run, log, echo))
        return await self._answering.stream(
            run,
            log,
            request,
            lambda events: blocks(run, events, echo, after=starting_after),
            cancel_on_disconnect=False,
            failures_inside=True,
        )

    async def cancel(self, request: Request, response: str) -> Response:
        """Stop a response that is made in the background."""
        run, echo = await self._stored(request, response)
        if not echo.background:
            raise InvalidArgument("Only a response made in the background can be cancelled.", field="response_id")
        await self._context.cancel(run.id)
        async for events in self._context.watch(run.id):
            del events  # until its writer has stopped
        return json_response(await present(await self._context.run(run.id), self._context.watch(run.id), echo))

    async def delete(self, request: Request, response: str) -> dict[str, Any]:
        """Delete a response with the thread that was made for it."""
        run, _ = await self._stored(request, response)
        await self._context.delete_thread(run.thread_id)
        return {"id": response, "object": "response", "deleted": True}

    async def _new(self, asked: ResponseRequest, control: Controls, request: Request) -> NewRun:
        key = request.state.key
        catalogue = await self._tools.catalogue() if needs_catalogue(asked) else ()
        previous = await self._previous(asked, request)
        new = new_run(
            Asked(request=asked, control=control, catalogue=catalogue),
            owner=key,
            cache_scope="" if self._options.share_prompts else key,
            timeout_seconds=self._options.run_seconds,
        )
        if previous is None:
            return new
        if await self._context.latest(previous.thread_id) == previous.id:
            return replace(new, thread_id=previous.thread_id, thread_key="")
        # Something was said behind it since: this is another way to go on, in a thread of its own.
        before = await self._context.said_until(previous)
        return replace(new, input=(*before, *new.input), thread_id="", thread_key="")

    async def _previous(self, asked: ResponseRequest, request: Request) -> Run | None:
        if asked.previous_response_id is None:
            return None
        try:
            run, _ = await self._stored(request, asked.previous_response_id)
        except NotFound as error:
            raise InvalidArgument(
                f"There is no response {asked.previous_response_id}.",
                field="previous_response_id",
                kind="previous_response_not_found",
            ) from error
        return run

    async def _stored(self, request: Request, response: str) -> tuple[Run, Echo]:
        try:
            run = await self._context.run(run_id(response) or "none")
        except RunNotFound as error:
            raise ResponseNotFound from error
        parameters = TurnParameters.from_json(run.parameters_json)
        if parameters.owner != request.state.key or not parameters.response_json:
            raise ResponseNotFound
        echo = Echo.from_json(parameters.response_json)
        if not echo.stored:
            raise ResponseNotFound
        return run, echo

    async def _answer(
        self, run: Run, echo: Echo, asked: ResponseRequest, request: Request, *, cancel: bool
    ) -> Response:
        log = self._context.watch(run.id)
        if asked.stream:
            shows = lambda events: blocks(run, events, echo)  # noqa: E731  # it is short
            return await self._answering.stream(run, log, request, shows, cancel_on_disconnect=cancel)
        if asked.background:
            return json_response(await present(replace(run, next_sequence=0), log, echo))
        collecting = collected(run, log, echo)
        return await self._answering.unless_left(run, request, collecting, cancel_on_disconnect=cancel) or LEFT


def _cancels(asked: ResponseRequest, control: Controls) -> bool:
    """Say whether the run stops when its client leaves: in the background never."""
    return control.cancel_on_disconnect and not asked.background
