"""`/v1/runs`: look at a run and its tool calls, stop it, decide about calls that wait for a person, answer servers."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from facade.domain.events import Run, RunState
from facade.domain.ports import Context
from facade.domain.records import Verdict
from facade.edge import examples
from facade.edge.answering import Answering
from facade.edge.answers.runs import CallAnswer, CallList, RunAnswer, RunPage
from facade.edge.body import read
from facade.edge.chat.place import read_place
from facade.edge.executor import Executor
from facade.edge.openapi import answer, answer_stream, request_body
from facade.edge.paging import Limit
from facade.edge.readers import Reader
from facade.edge.runs.answers import answers_of, placed
from facade.edge.runs.encode import call_body, run_body, waiting_run_body
from facade.edge.runs.log import blocks
from facade.edge.runs.schemas import Answers, Approval, Decision, Denial, Settlement
from facade.edge.sse import EventStream
from threadmesh.errors import InvalidArgument
from threadmesh.telemetry.logs import bound_ids

_CALL = "/{run_id}/calls/{call_id}"
_APPROVAL = request_body(Approval, examples.APPROVAL, optional=True)
_DENIAL = request_body(Denial, examples.DENIAL, optional=True)
_SETTLEMENT = request_body(Settlement, examples.SETTLEMENT)
_ANSWERS = request_body(Answers, examples.ANSWERS)


class Runs:
    """Answers requests about runs; those of other tenants are not found."""

    def __init__(self, context: Context, executor: Executor, answering: Answering) -> None:
        self._context = context
        self._executor = executor
        self._answering = answering

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/runs", tags=["runs"])
        for path, show, method, told, summary in (
            ("", self.list, "GET", RunPage, "List runs, the latest first"),
            ("/{run_id}", self.get, "GET", RunAnswer, "Get a run"),
            ("/{run_id}/cancel", self.cancel, "POST", RunAnswer, "Stop a run"),
            ("/{run_id}/calls", self.calls, "GET", CallList, "List the tool calls of a run"),
        ):
            routes.add_api_route(path, show, methods=[method], summary=summary, responses=answer(told))
        routes.add_api_route(
            "/{run_id}/events",
            self.events,
            methods=["GET"],
            summary="Watch what happens in a run, behind `Last-Event-ID` or `starting_after`",
            response_class=EventStream,
            responses=answer_stream(examples.RUN_STREAM),
        )
        for path, decide, body, summary in (
            ("approve", self.approve, _APPROVAL, "Let a call be sent that waits for a person"),
            ("deny", self.deny, _DENIAL, "Refuse a call that waits for a person"),
            ("resolve", self.resolve, _SETTLEMENT, "Say how a call ended whose outcome is unknown"),
            ("answer", self.answer, _ANSWERS, "Answer what a tool's server asks"),
        ):
            routes.add_api_route(
                f"{_CALL}/{path}",
                decide,
                methods=["POST"],
                summary=summary,
                responses=answer(CallAnswer),
                openapi_extra=body,
            )
        return routes

    async def list(
        self,
        request: Request,
        status: RunState | None = None,
        thread: Annotated[str, Query(max_length=128)] = "",
        after: str = "",
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """List runs; `status` keeps those in a state, such as `requires_action`, `thread` those of a thread's id."""
        found, more = await self._context.runs(
            status, thread_id=thread, after=after, limit=limit, tenant=request.state.tenant
        )
        runs = [run_body(run) for run in found]
        return {"object": "list", "data": runs, "has_more": bool(more), "after": more or None}

    async def get(self, request: Request, run_id: str) -> dict[str, Any]:
        """Give a run; of one that waits for persons, also what they are asked."""
        run = await self._own(request, run_id)
        if run.state is not RunState.REQUIRES_ACTION:
            return run_body(run)
        return waiting_run_body(run, await self._context.calls(run.id))

    async def events(self, request: Request, run_id: str, starting_after: str | None = None) -> Response:
        """Show a run's log from its beginning, or behind an event that was seen, until the run has ended."""
        run = await self._own(request, run_id)
        place = read_place(run, last_event_id=request.headers.get("last-event-id"), starting_after=starting_after)
        log = self._context.watch(run.id, after=place.sequence if place else None)
        with bound_ids(run_id=run.id, thread_id=run.thread_id):
            return await self._answering.stream(
                run, log, request, partial(blocks, run), reader=Reader.WATCHER, failures_inside=True
            )

    async def cancel(self, request: Request, run_id: str) -> dict[str, Any]:
        """Stop a run; it may take a moment until it has."""
        run = await self._own(request, run_id)
        await self._context.cancel(run.id)
        self._executor.cancel(run, calls=True)
        return run_body(await self._context.run(run.id))

    async def calls(self, request: Request, run_id: str) -> dict[str, Any]:
        """List the calls in the order in which the model asked for them."""
        run = await self._own(request, run_id)
        return {"object": "list", "data": [call_body(call) for call in await self._context.calls(run.id)]}

    async def approve(self, request: Request, run_id: str, call_id: str) -> dict[str, Any]:
        """Let a call be sent."""
        asked = await read(request, Approval, optional=True, strict=True)
        verdict = replace(_verdict("approved", asked), definition_hash=asked.definition_hash)
        return await self._decide(request, run_id, call_id, verdict)

    async def deny(self, request: Request, run_id: str, call_id: str) -> dict[str, Any]:
        """Refuse a call."""
        asked = await read(request, Denial, optional=True, strict=True)
        return await self._decide(request, run_id, call_id, _verdict("denied", asked))

    async def resolve(self, request: Request, run_id: str, call_id: str) -> dict[str, Any]:
        """Say how a call ended."""
        asked = await read(request, Settlement, strict=True)
        verdict = replace(_verdict(asked.outcome, asked), output=asked.output)
        return await self._decide(request, run_id, call_id, verdict)

    async def answer(self, request: Request, run_id: str, call_id: str) -> dict[str, Any]:
        """Answer what a tool's server asks: it fits its form, or is refused with the field that does not."""
        asked = await read(request, Answers, strict=True)
        run = await self._own(request, run_id)
        number, answers = answers_of(asked, call_id, await self._context.calls(run.id))
        try:
            return call_body(
                await self._context.answer(run.id, call_id, answers, in_round=number, request_id=asked.request_id)
            )
        except InvalidArgument as error:
            raise placed(error, answers, several=bool(asked.answers)) from error

    async def _decide(self, request: Request, run_id: str, call_id: str, verdict: Verdict) -> dict[str, Any]:
        run = await self._own(request, run_id)
        return call_body(await self._context.decide(run.id, call_id, verdict))

    async def _own(self, request: Request, run_id: str) -> Run:
        return await self._context.run(run_id, tenant=request.state.tenant)


def _verdict(resolution: str, asked: Decision) -> Verdict:
    return Verdict(
        resolution=resolution,
        reason=asked.reason,
        arguments_hash=asked.arguments_hash,
        request_id=asked.request_id,
    )
