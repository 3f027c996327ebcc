"""A request for a response to what the domain understands."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from facade.domain.offer import Offer
from facade.domain.parameters import ResponseFormat, TurnParameters
from facade.domain.ports import Model
from facade.domain.records import NewRun
from facade.domain.written import Written
from facade.edge.chat.sampling import wishes
from facade.edge.chat.schemas import canonical
from facade.edge.controls import Controls
from facade.edge.invalid import missing
from facade.edge.responses import schemas
from facade.edge.responses.echo import echo
from facade.edge.responses.include import LOGPROBS, check_include
from facade.edge.responses.input_items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputItem,
)
from facade.edge.responses.messages import messages_of
from facade.edge.responses.offered import asking_tools, function, offered_tools, server_tools
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.tool_choice import ruled
from facade.edge.tool_results import Step, refuse, unasked

_NO_EFFORT = ("none", "minimal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for, and of whom, if that is known, with the tools that its servers have now, and the thread
    that it goes on with.

    What it names is found already; `written` says where its parts stood before.
    """

    request: ResponseRequest
    control: Controls
    offer: Offer = Offer()
    model: Model | None = None
    thread_id: str = ""
    written: Written = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether all that the model is told stands in the request itself."""
        return not self.thread_id and is_alone(self.request, self.control)


def require_input(request: ResponseRequest) -> None:
    """Raise `InvalidArgument` for a request that says nothing and goes on with nothing."""
    if not ("input" in request.model_fields_set or request.previous_response_id or request.conversation):
        raise missing("input")


def is_alone(request: ResponseRequest, control: Controls) -> bool:
    """Say whether a request goes on with nothing: all that was said before stands in it."""
    behind = request.previous_response_id or getattr(request, "conversation", None)
    return not (behind or control.thread_id or control.thread_key)


def new_run(asked: Asked, *, tenant: str, cache_scope: str, timeout_seconds: float) -> NewRun:
    """Give the run that answers the request. Raises `InvalidArgument` for servers and tools that are not there."""
    request, control = asked.request, asked.control
    if asked.alone:
        refuse(unasked_results(request.input))
    return NewRun(
        input=messages_of(request.input),
        parameters=_parameters(asked, cache_scope=cache_scope),
        thread_id=asked.thread_id or control.thread_id,
        thread_key="" if asked.thread_id else control.thread_key,
        idempotency_key=control.idempotency_key,
        tenant=tenant,
        fingerprint=control.fingerprint(request),
        multitask=control.multitask,
        timeout_seconds=timeout_seconds,
    )


def _parameters(asked: Asked, *, cache_scope: str) -> TurnParameters:
    request = asked.request
    check_include(request.include or ())
    offered = offered_tools(request, asked.offer)
    reasoning = request.reasoning.effort if request.reasoning else None
    parameters = TurnParameters(
        model=request.model or "",
        sampling=wishes(request),
        max_tokens=request.max_output_tokens,
        response_format=_format(request.text),
        tools=tuple(function(tool) for tool in request.tools or () if isinstance(tool, schemas.FunctionTool)),
        parallel_tool_calls=request.parallel_tool_calls,
        server_tools=server_tools(asked.control.tools, offered),
        top_logprobs=_top_logprobs(request),
        thinking=False if reasoning in _NO_EFFORT else None,
        reasoning_effort="" if reasoning in _NO_EFFORT else reasoning or "",
        cache_scope=cache_scope,
        instructions=request.instructions or "",
        max_tool_calls=request.max_tool_calls,
        whole_thread=request.truncation == "disabled",
        shortens_input=request.truncation != "disabled",
        asking_tools=asking_tools(request, offered),
        written=asked.written,
        response_json=echo(request, offered, asked.model).to_json(),
    )
    return ruled(parameters, request.tool_choice, asked.offer)


def unasked_results(given: str | Sequence[InputItem]) -> dict[str, str]:
    """Give the fields that name calls which these items do not make themselves. Raises as `unasked`."""
    return unasked(
        Step(
            calls=[item.call_id] if isinstance(item, FunctionCallItem) else (),
            result_of=item.call_id if isinstance(item, FunctionOutputItem) else None,
            field=getattr(item, "written", ""),
        )
        for item in (() if isinstance(given, str) else given)
    )


def _top_logprobs(request: ResponseRequest) -> int | None:
    wanted = bool(request.top_logprobs) or LOGPROBS in (request.include or ())
    return (request.top_logprobs or 0) if wanted else None


def _format(text: schemas.TextOptions | None) -> ResponseFormat:
    wanted = text.format if text else None
    if wanted is None:
        return ResponseFormat()
    schema = wanted.json_schema()
    if schema is None:
        return ResponseFormat(type=wanted.type)
    return ResponseFormat(
        type=wanted.type, name=schema.name, schema_json=canonical(schema.schema_), lenient=schema.strict is False
    )
