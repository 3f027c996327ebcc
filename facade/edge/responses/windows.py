"""`/v1/responses/input_tokens` and `/v1/responses/compact`: what a model would read, counted and in short."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from facade.domain.compaction import Compacted, compact
from facade.domain.limits import Mesh
from facade.domain.metered import text_tokens
from facade.domain.offer import Offer
from facade.domain.parameters import ServerTools, TurnParameters
from facade.domain.ports import Conversation
from facade.domain.question import instructions_of
from facade.domain.records import NewRun
from facade.domain.threads import Threads
from facade.domain.written import Written, tell_place
from facade.edge import examples
from facade.edge.admission import Admission
from facade.edge.answers.texts import Compaction, InputTokens
from facade.edge.body import read
from facade.edge.chat.fields import Schema, Vain
from facade.edge.chat.schemas import ServiceTier
from facade.edge.controls import controls
from facade.edge.keys import offered_tools, require
from facade.edge.leaving import LEFT, unless_gone
from facade.edge.openapi import answer, request_body
from facade.edge.responses.compaction import sealed
from facade.edge.responses.decode import Asked, new_run
from facade.edge.responses.found import Found
from facade.edge.responses.messages import messages_of
from facade.edge.responses.offered import needs_catalogue
from facade.edge.responses.references import Read, References
from facade.edge.responses.resource import usage_body
from facade.edge.responses.said import message_item
from facade.edge.responses.schemas import Input, ResponseRequest
from facade.edge.responses.written import written
from threadmesh.conversation import Message, ToolChoiceMode, ToolDefinition
from threadmesh.errors import MeshError
from threadmesh.keys.key import Scope
from threadmesh.rpc import deadline


def _nothing(given: Any) -> Any:
    return "" if given is None else given


def _nullable(schema: dict[str, Any]) -> None:
    """Say that null is taken too, as it is by `_nothing`."""
    schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]


class InputTokensRequest(ResponseRequest):
    """The body of `POST /v1/responses/input_tokens`: that of a request for a response, of which nothing is required."""

    input: Input = Field(default="", json_schema_extra=_nullable)

    personality: Vain = None

    _absent = field_validator("input", mode="before")(_nothing)


class CompactRequest(Schema):
    """The body of `POST /v1/responses/compact`."""

    input: Input = Field(default="", json_schema_extra=_nullable)
    model: str | None = Field(default=None, max_length=256, description="Absent: the default model.")
    previous_response_id: str | None = Field(default=None, max_length=128)
    instructions: str | None = Field(default=None, description="Not part of the result; send them with each request.")
    prompt_cache_key: str | None = Field(default=None, max_length=512)
    service_tier: ServiceTier = None
    image: Vain = None
    prompt_cache_options: Vain = None
    prompt_cache_retention: Vain = None

    _absent = field_validator("input", mode="before")(_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOptions:
    """How conversations are counted and compacted here."""

    default_tools: str
    share_prompts: bool
    seconds: float


class Windows:
    """Answers what is asked about conversations, apart from their answers. Nothing of it is kept."""

    def __init__(self, mesh: Mesh, threads: Threads, admission: Admission, options: WindowOptions) -> None:
        self._mesh, self._admission, self._options = mesh, admission, options
        self._found, self._references = Found(mesh.context), References(mesh.context, threads)

    def router(self) -> APIRouter:
        """Make the routes."""
        routes = APIRouter(prefix="/v1/responses", tags=["responses"])
        routes.add_api_route(
            "/input_tokens",
            self.input_tokens,
            methods=["POST"],
            summary="Count what a model would read for a response",
            responses=answer(InputTokens),
            openapi_extra=request_body(InputTokensRequest, examples.INPUT_TOKENS),
        )
        routes.add_api_route(
            "/compact",
            self.compact,
            methods=["POST"],
            summary="Give a conversation in short, to go on with",
            responses=answer(Compaction),
            openapi_extra=request_body(CompactRequest, examples.COMPACT),
        )
        return routes

    async def input_tokens(self, request: Request) -> Response:
        """Count the tokens of all that the request names, before anything of it is left out for want of room."""
        asked = await read(request, InputTokensRequest)
        places = written(asked)
        before, items = await self._read(asked, request)
        asked = asked.model_copy(update={"input": items})
        offered_here = offered_tools(request, self._options.default_tools)
        control = controls(request.headers, asked.metadata or {}, default_tools=offered_here)
        needed = needs_catalogue(asked) or ServerTools.parse(control.tools)
        offer = await self._mesh.tools.offer() if needed else Offer()
        new = new_run(Asked(request=asked, control=control, offer=offer), tenant="", cache_scope="", timeout_seconds=1)
        if new.parameters.server_tools:
            require(request, Scope.TOOLS)
        offered = [tool.definition for tool in offer.chosen(new.parameters.server_tools).values()]
        said = [*instructions_of(new.parameters), *before, *(new.input if asked.input else ())]
        conversation = Conversation(messages=said, tools=_tools(new, offered))
        tokens = await self._counted(conversation, places, model=new.parameters.model) if said else 0
        return _json({"object": "response.input_tokens", "input_tokens": tokens})

    async def _counted(self, read: Conversation, places: Written, *, model: str) -> int:
        try:
            return await self._mesh.inference.count_all(read, model=model)
        except MeshError as error:
            tell_place(error, places, messages=read.messages, tools=read.tools)
            raise

    async def compact(self, request: Request) -> Response:
        """Give what was said as a summary, with what must not be retold in other words beside it."""
        asked = await read(request, CompactRequest)
        before, items = await self._read(asked, request)
        said = [*before, *(messages_of(items) if items else ())]
        scope = "" if self._options.share_prompts else request.state.key
        parameters = TurnParameters(model=asked.model or "", cache_scope=scope, caller=request.state.key)
        held = self._admission.admit(request, tokens=text_tokens(message.text for message in said))
        request.state.until_its_end.enter_context(held)
        with deadline.within(self._options.seconds):
            made = await unless_gone(request, compact(said, parameters, self._mesh.inference))
        return LEFT if made is None else _json(_body(made))

    async def _read(
        self, asked: InputTokensRequest | CompactRequest, request: Request
    ) -> tuple[Sequence[Message], Input]:
        """Give what was said before, and the input with the items that it only names."""
        previous = await self._found.previous(asked.previous_response_id, request)
        before = [each.message for each in await self._mesh.context.said_until(previous)] if previous else ()
        if isinstance(asked.input, str):
            return before, asked.input
        read = Read(thread_id=previous.thread_id if previous else "")
        return before, await self._references.followed(asked.input, request, read=read)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _tools(new: NewRun, offered: Sequence[ToolDefinition]) -> Sequence[ToolDefinition]:
    choice = new.parameters.tool_choice
    return () if choice and choice.mode is ToolChoiceMode.NONE else (*new.parameters.tools, *offered)


def _body(made: Compacted) -> dict[str, Any]:
    summary = {"id": f"cmp_{uuid.uuid4().hex}", "type": "compaction", "encrypted_content": sealed(made.summary)}
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [*map(message_item, made.instructions), summary, *map(message_item, made.unanswered)],
        "usage": usage_body(made.usage),
    }
