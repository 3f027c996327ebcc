"""`POST /v1/chat/completions`: start a run, and show its log."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from facade.domain.events import Run, RunEvent, RunFinished
from facade.domain.parameters import TurnParameters
from facade.domain.ports import NewRun
from facade.domain.tokens import with_tokens
from facade.domain.turn import Mesh
from facade.edge import sse
from facade.edge.body import read
from facade.edge.chat.attempt import attempted
from facade.edge.chat.chunks import Log, blocks
from facade.edge.chat.decode import Presentation, new_run, presentation, stored_presentation
from facade.edge.chat.encode import run_id
from facade.edge.chat.place import read_place
from facade.edge.chat.schemas import ChatRequest
from facade.edge.chat.whole import Answer, collected
from facade.edge.controls import controls
from facade.edge.errors import response_of
from facade.edge.executor import Executor
from facade.edge.metrics import FacadeMetrics
from facade.edge.openapi import request_body
from threadmesh.crash_points import crash_point
from threadmesh.errors import InvalidArgument, RunNotFound
from threadmesh.telemetry.logs import bound_ids

Result = TypeVar("Result")

_PATIENCE = 2
"""Signs of life to wait for before a stream begins without knowing whether its run can succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How chat completions behave here."""

    default_tools: str
    run_seconds: float
    approval_seconds: float
    keepalive_seconds: float
    orchestrator_fields: bool
    share_prompts: bool


class Chat:
    """Answers chat completion requests."""

    def __init__(self, mesh: Mesh, executor: Executor, metrics: FacadeMetrics, options: ChatOptions) -> None:
        self._context, self._inference = mesh.context, mesh.inference
        self._executor = executor
        self._metrics = metrics
        self._options = options

    def router(self) -> APIRouter:
        """Make the route."""
        routes = APIRouter(tags=["chat"])
        routes.add_api_route(
            "/v1/chat/completions",
            self.complete,
            methods=["POST"],
            summary="Answer a conversation",
            openapi_extra=request_body(ChatRequest),
        )
        routes.add_api_route(
            "/v1/chat/completions/{completion_id}/stream",
            self.resume,
            methods=["GET"],
            summary="Go on with the stream of a completion, behind `Last-Event-ID`",
        )
        return routes

    async def complete(self, request: Request) -> Response:
        """Answer a conversation, as a whole or as a stream."""
        began = time.monotonic()
        asked = await read(request, ChatRequest)
        if request.headers.get("x-threadmesh-strict") == "1":
            _refuse_unknown(asked)
        control = controls(request.headers, asked.metadata or {}, default_tools=self._options.default_tools)
        shown = presentation(asked, control)
        key = request.state.key
        scope = "" if self._options.share_prompts else key
        # A run that may wait for a person may take longer; what it takes of its own is limited by its turn.
        waits = self._options.approval_seconds if control.tools != "none" else 0.0
        seconds = self._options.run_seconds + waits
        new = new_run(asked, control, owner=key, cache_scope=scope, timeout_seconds=seconds)
        run, replayed = await self._start(new, request)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            if not replayed:
                self._executor.start(run)
            after = read_place(run, last_event_id=request.headers.get("last-event-id")) if replayed else None
            answer = Answer(run, self._context.watch(run.id), shown, control, began, after)
            response = await (self._stream(answer, request) if shown.stream else self._whole(answer, request))
        response.headers.update(_headers(run, asked, shown, replayed=replayed))
        return response

    async def resume(self, request: Request, completion_id: str, starting_after: str | None = None) -> Response:
        """Go on with the stream of a completion behind the event that its reader has seen last."""
        run = await self._context.run(run_id(completion_id))
        after = read_place(run, last_event_id=request.headers.get("last-event-id"), starting_after=starting_after)
        parameters = TurnParameters.from_json(run.parameters_json)
        if parameters.owner != request.state.key:
            raise RunNotFound
        shown = stored_presentation(parameters)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            answer = Answer(run, self._context.watch(run.id), shown, _STAY, time.monotonic(), after)
            response = await self._stream(answer, request)
        response.headers.update({"x-run-id": run.id, "x-thread-id": run.thread_id})
        return response

    async def _start(self, new: NewRun, request: Request) -> tuple[Run, bool]:
        """Make the run of a request, or find the one that an earlier sending of it has made.

        Stock clients repeat requests without a key. What failed is tried anew, unless a tool was called: that could
        happen twice.
        """
        attempt = attempted(await with_tokens(new, self._inference), request)
        run, replayed = await self._context.start(attempt)
        failed = run.finished is not None and run.finished.failure is not None
        if replayed and attempt.repetition and failed and not await self._context.calls(run.id):
            return await self._context.start(replace(attempt, repetition=False))
        return run, replayed

    async def _stream(self, answer: Answer, request: Request) -> Response:
        first = await self._unless_left(answer, request, _first(answer.log))
        if first is None:
            await answer.log.aclose()
            return _LEFT
        if first and isinstance(first[0].body, RunFinished) and first[0].body.failure is not None:
            await answer.log.aclose()
            return response_of(first[0].body.failure.error())
        shown = blocks(answer.run, _joined(first, answer.log), answer.shown, after=answer.after)
        stream = sse.kept_alive(self._watched(answer, shown), seconds=self._options.keepalive_seconds)
        return StreamingResponse(stream, media_type="text/event-stream", headers=sse.HEADERS)

    async def _watched(self, answer: Answer, shown: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Pass a stream on, and notice when its reader leaves before the end."""
        ended = False
        with self._metrics.streams.track_inprogress():
            try:
                async with aclosing(shown):
                    async for block in shown:
                        crash_point("facade.before_flush")
                        yield block
                        crash_point("facade.after_flush")
                ended = True
            finally:
                if not ended:
                    self._left(answer)

    async def _whole(self, answer: Answer, request: Request) -> Response:
        collecting = collected(answer, orchestrator_fields=self._options.orchestrator_fields)
        return await self._unless_left(answer, request, collecting) or _LEFT

    async def _unless_left(self, answer: Answer, request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Do what a response needs before it begins; None if the client leaves meanwhile: nothing else would tell."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            self._left(answer)
            return None
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    def _left(self, answer: Answer) -> None:
        """Stop the run of a client that left, unless it is to go on without a reader."""
        cancel = answer.control.cancel_on_disconnect
        self._metrics.disconnects.labels("cancel" if cancel else "continue").inc()
        if cancel:
            self._executor.cancel(answer.run)


_STAY = controls({"x-threadmesh-on-disconnect": "continue"}, {}, default_tools="")
"""What holds for those who read a run that somebody else has asked for: their leaving does not stop it."""
_LEFT = Response(status_code=499)
"""What nobody reads: the client has gone."""


async def _first(log: Log) -> Sequence[RunEvent]:
    """Wait a moment for the first events, so that a refusal can still have a status of its own."""
    for _ in range(_PATIENCE):
        if events := await anext(log, ()):
            return events
    return ()


async def _joined(first: Sequence[RunEvent], rest: Log) -> Log:
    async with aclosing(rest):
        yield first
        async for events in rest:
            yield events


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refuse_unknown(asked: ChatRequest) -> None:
    for field in asked.ignored():
        raise InvalidArgument(f"{field[:64]} is not a field of this request.", field=field, kind="unknown_parameter")


def _headers(run: Run, asked: ChatRequest, shown: Presentation, *, replayed: bool) -> dict[str, str]:
    headers = {"x-run-id": run.id, "x-thread-id": run.thread_id, "x-prompt-bytes": str(shown.prompt_bytes)}
    if ignored := asked.ignored():
        names = (name if name.isascii() and name.isprintable() else "?" for name in ignored)
        headers["x-threadmesh-ignored"] = ", ".join(names)[:1024]
    if replayed:
        headers["idempotent-replayed"] = "true"
    return headers
