"""`/v1/threads/{id}/window`, `/warm` and `/summary`: what models read of a thread, ahead of time, and in short."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from facade.domain.curation import Curation
from facade.domain.limits import Limits, Mesh
from facade.domain.metered import text_tokens
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.question import bounded, budget_of
from facade.domain.summarize import Wish, summarize
from facade.domain.threads import Thread, Threads
from facade.domain.warm import warm
from facade.edge import examples
from facade.edge.admission import Admission
from facade.edge.answers.threads import SummaryAnswer, WarmedAnswer, WindowAnswer
from facade.edge.body import read
from facade.edge.chat.decode import tool_of
from facade.edge.controls import TOOLS_DESCRIBED, controls
from facade.edge.keys import offered_tools, require
from facade.edge.leaving import LEFT, unless_gone
from facade.edge.openapi import answer, request_body
from facade.edge.threads.encode import summary_body, warmed_body, window_body
from facade.edge.threads.names import find, number_of
from facade.edge.threads.schemas import SummaryRequest, WarmRequest
from threadmesh.keys.key import Scope
from threadmesh.rpc import deadline

_ONE = "/{thread_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """How threads are read here; the limits are those of turns."""

    default_tools: str
    share_prompts: bool
    limits: Limits


class ThreadReading:
    """Answers requests about what models read of threads; those of other tenants are not found."""

    def __init__(
        self, mesh: Mesh, threads: Threads, curation: Curation, admission: Admission, options: ReadingOptions
    ) -> None:
        self._mesh, self._threads, self._curation = mesh, threads, curation
        self._admission, self._options = admission, options

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/threads", tags=["threads"])
        routes.add_api_route(
            f"{_ONE}/window",
            self.window,
            methods=["GET"],
            summary="Show what a model would read of a thread",
            responses=answer(WindowAnswer),
        )
        routes.add_api_route(
            f"{_ONE}/warm",
            self.warm,
            methods=["POST"],
            summary="Let a model read a thread ahead of its next turn",
            responses=answer(WarmedAnswer),
            openapi_extra={**TOOLS_DESCRIBED, **request_body(WarmRequest, examples.WARM, optional=True)},
        )
        routes.add_api_route(
            f"{_ONE}/summary",
            self.summary,
            methods=["POST"],
            summary="Let a model summarize a thread's beginning",
            responses=answer(SummaryAnswer),
            openapi_extra=request_body(SummaryRequest, examples.SUMMARY, optional=True),
        )
        return routes

    async def window(
        self,
        request: Request,
        thread_id: str,
        model: Annotated[str, Query(max_length=256)] = "",
        token_budget: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    ) -> dict[str, Any]:
        """Give what fits a budget: the one that is asked for, or that of a model, the default one if none is named."""
        thread = await self._find(request, thread_id)
        budget, name = token_budget, model
        if budget is None:
            reader = await self._mesh.inference.model(model)
            asked = bounded(TurnParameters(), answer_tokens=self._options.limits.answer_tokens)
            budget, name = budget_of(reader, asked), reader.name
        window = await self._curation.window(thread.id, token_budget=budget, tenant=thread.tenant)
        return window_body(thread, window, model=name, budget=budget)

    async def warm(self, request: Request, thread_id: str) -> Response:
        """Let a model read what the next request would have it read."""
        require(request, Scope.CHAT)
        asked = await read(request, WarmRequest, optional=True)
        thread = await self._find(request, thread_id)
        parameters = self._parameters(asked, request)
        self._admit(request, tokens=text_tokens([parameters.instructions]))
        work = warm(thread, parameters, mesh=self._mesh, curation=self._curation, limits=self._options.limits)
        with deadline.within(self._options.limits.seconds):
            done = await unless_gone(request, work)
        if done is None:
            return LEFT
        self._admission.used(request, done.tokens - done.cached_tokens)
        return _json(warmed_body(thread, done))

    async def summary(self, request: Request, thread_id: str) -> Response:
        """Let a model retell a thread's beginning."""
        require(request, Scope.CHAT)
        asked = await read(request, SummaryRequest, optional=True)
        thread = await self._find(request, thread_id)
        last = await number_of(self._mesh.context, self._threads, thread, asked.up_to) if asked.up_to else None
        parameters = TurnParameters(model=asked.model or "", cache_scope=self._scope(request), caller=request.state.key)
        self._admit(request, tokens=0)
        wish = Wish(up_to=last, parameters=parameters, request_id=uuid.uuid4().hex)
        work = summarize(thread, wish, threads=self._threads, curation=self._curation, inference=self._mesh.inference)
        with deadline.within(self._options.limits.seconds):
            done = await unless_gone(request, work)
        return LEFT if done is None else _json(summary_body(thread, *done))

    def _parameters(self, asked: WarmRequest, request: Request) -> TurnParameters:
        offered = offered_tools(request, self._options.default_tools)
        wanted = ServerTools.parse(controls(request.headers, {}, default_tools=offered).tools)
        if wanted:
            require(request, Scope.TOOLS)
        return TurnParameters(
            model=asked.model or "",
            instructions=asked.instructions or "",
            tools=tuple(map(tool_of, asked.tools or ())),
            server_tools=wanted,
            max_tokens=asked.max_tokens,
            cache_scope=self._scope(request),
        )

    def _scope(self, request: Request) -> str:
        return "" if self._options.share_prompts else request.state.key

    def _admit(self, request: Request, *, tokens: int) -> None:
        request.state.until_its_end.enter_context(self._admission.admit(request, tokens=tokens))

    async def _find(self, request: Request, thread_id: str) -> Thread:
        return await find(self._threads, thread_id, tenant=request.state.tenant)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
