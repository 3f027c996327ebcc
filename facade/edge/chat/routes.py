"""`POST /v1/chat/completions`: start a run, and show its log."""

import time
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from facade.domain.events import Run
from facade.domain.parameters import TurnParameters
from facade.domain.ports import Context
from facade.domain.records import NewRun
from facade.domain.threads import Threads
from facade.edge import examples
from facade.edge.answering import Answering
from facade.edge.answers.chat import Completion
from facade.edge.body import read
from facade.edge.chat.chunks import blocks
from facade.edge.chat.decode import (
    Presentation,
    check_choices,
    new_run,
    presentation,
    stored_presentation,
    unasked_results,
)
from facade.edge.chat.encode import run_id
from facade.edge.chat.place import read_place
from facade.edge.chat.schemas import ChatRequest
from facade.edge.chat.whole import Answer, collected
from facade.edge.controls import DESCRIBED, Controls, controls, replayed_header
from facade.edge.keys import offered_tools
from facade.edge.leaving import LEFT
from facade.edge.openapi import answer, answer_stream, request_body
from facade.edge.readers import Reader
from facade.edge.sse import EventStream
from facade.edge.tool_results import require_calls
from threadmesh.telemetry.logs import bound_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How chat completions behave here."""

    default_tools: str
    run_seconds: float
    orchestrator_fields: bool
    share_prompts: bool
    max_choices: int


class Chat:
    """Answers chat completion requests."""

    def __init__(self, context: Context, threads: Threads, answering: Answering, options: ChatOptions) -> None:
        self._context, self._threads = context, threads
        self._answering = answering
        self._options = options

    def router(self) -> APIRouter:
        """Make the route."""
        routes = APIRouter(tags=["chat"])
        routes.add_api_route(
            "/v1/chat/completions",
            self.complete,
            methods=["POST"],
            summary="Answer a conversation",
            responses=answer(Completion, stream=examples.CHAT_STREAM),
            openapi_extra=request_body(ChatRequest, examples.CHAT) | DESCRIBED,
        )
        routes.add_api_route(
            "/v1/chat/completions/{completion_id}/stream",
            self.resume,
            methods=["GET"],
            summary="Go on with the stream of a completion, behind `Last-Event-ID`",
            response_class=EventStream,
            responses=answer_stream(examples.CHAT_STREAM),
        )
        return routes

    async def complete(self, request: Request) -> Response:
        """Answer a conversation, as a whole or as a stream."""
        began = time.monotonic()
        asked = await read(request, ChatRequest)
        offered = offered_tools(request, self._options.default_tools)
        control = controls(request.headers, asked.metadata or {}, default_tools=offered)
        check_choices(asked, control, most=self._options.max_choices)
        await self._check_results(asked, control, request)
        shown = presentation(asked, control)
        run, replayed = await self._answering.start(self._new(asked, control, request), request)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            after = read_place(run, last_event_id=request.headers.get("last-event-id")) if replayed else None
            reader = Reader.of(replayed=replayed, stops=control.cancel_on_disconnect)
            answer = Answer(run, self._context.watch(run.id), shown, reader, began, after)
            response = await (self._stream(answer, request) if shown.stream else self._whole(answer, request))
        response.headers.update(_headers(run, shown, replayed=replayed))
        return response

    async def _check_results(self, asked: ChatRequest, control: Controls, request: Request) -> None:
        """Refuse results of calls that nobody has made in the thread; what names no thread is checked by itself."""
        place = {"thread_id": control.thread_id, "thread_key": control.thread_key}
        if any(place.values()):
            await require_calls(unasked_results(asked), self._threads, tenant=request.state.tenant, **place)

    def _new(self, asked: ChatRequest, control: Controls, request: Request) -> NewRun:
        key = request.state.key
        return new_run(
            asked,
            control,
            tenant=request.state.tenant,
            cache_scope="" if self._options.share_prompts else key,
            timeout_seconds=self._options.run_seconds,
        )

    async def resume(self, request: Request, completion_id: str, starting_after: str | None = None) -> Response:
        """Go on with the stream of a completion behind the event that its reader has seen last."""
        run = await self._context.run(run_id(completion_id), tenant=request.state.tenant)
        after = read_place(run, last_event_id=request.headers.get("last-event-id"), starting_after=starting_after)
        shown = stored_presentation(TurnParameters.from_json(run.parameters_json))
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            answer = Answer(run, self._context.watch(run.id), shown, Reader.WATCHER, time.monotonic(), after)
            response = await self._stream(answer, request)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        return response

    async def _stream(self, answer: Answer, request: Request) -> Response:
        return await self._answering.stream(
            answer.run,
            answer.log,
            request,
            lambda log: blocks(answer.run, log, answer.shown, after=answer.after),
            reader=answer.reader,
        )

    async def _whole(self, answer: Answer, request: Request) -> Response:
        collecting = collected(answer, orchestrator_fields=self._options.orchestrator_fields)
        whole = await self._answering.unless_left(answer.run, request, collecting, reader=answer.reader)
        return whole or LEFT


def _headers(run: Run, shown: Presentation, *, replayed: bool) -> dict[str, str]:
    headers = {"x-run-id": run.id, "x-thread-id": run.thread_id, "x-prompt-bytes": str(shown.prompt_bytes)}
    return headers | replayed_header(replayed=replayed)
