"""A chat completion request to what the domain understands."""

import secrets
from dataclasses import dataclass, replace

from facade.domain.narrowing import narrowed
from facade.domain.parameters import ResponseFormat, ServerTools, TurnParameters
from facade.domain.records import NewRun
from facade.edge.chat import schemas
from facade.edge.chat.media import decode_base64, split_data_url
from facade.edge.chat.sampling import wishes
from facade.edge.chat.schemas import ChatRequest, canonical
from facade.edge.chat.tool_choice import allowed, rule
from facade.edge.chat.written import written
from facade.edge.controls import Controls
from facade.edge.tool_results import Step, refuse, unasked
from threadmesh.conversation import (
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolDefinition,
)
from threadmesh.errors import InvalidArgument

STORED = "chatcmpl:"
"""What the keys of threads begin with that hold a stored completion each."""
_NO_EFFORT = ("none", "minimal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How the answer is shown, apart from what it says; of several, all `choices` are."""

    stream: bool
    include_usage: bool
    events: bool
    prompt_bytes: int
    choices: int = 1


def new_run(
    request: ChatRequest, controls: Controls, *, tenant: str, cache_scope: str, timeout_seconds: float
) -> NewRun:
    """Give the run that answers the request. Raises `InvalidArgument` for results of calls nobody made."""
    messages = tuple(map(message_of, request.messages))
    in_thread = bool(controls.thread_id or controls.thread_key)
    if not in_thread:
        refuse(unasked_results(request))
    stored = bool(request.store) and not in_thread
    return NewRun(
        input=messages,
        parameters=replace(
            _parameters(request, controls),
            written=written(request.messages, messages, request.tools or ()),
            cache_scope=cache_scope,
            include_usage=_include_usage(request),
            show_events=controls.events,
            stored_messages=len(messages) if stored else 0,
        ),
        thread_id=controls.thread_id,
        thread_key=f"{STORED}{secrets.token_hex(16)}" if stored else controls.thread_key,
        metadata=(request.metadata or {}) if stored else {},
        idempotency_key=controls.idempotency_key,
        tenant=tenant,
        fingerprint=controls.fingerprint(request),
        multitask=controls.multitask,
        timeout_seconds=timeout_seconds,
    )


def stored_presentation(parameters: TurnParameters) -> Presentation:
    """Say how the stream of a run was to be shown when it was asked for."""
    return Presentation(
        stream=True,
        include_usage=parameters.include_usage,
        events=parameters.show_events,
        prompt_bytes=0,
        choices=parameters.choices,
    )


def _include_usage(request: ChatRequest) -> bool:
    return bool(request.stream_options and request.stream_options.include_usage)


def presentation(request: ChatRequest, controls: Controls) -> Presentation:
    """Say how the answer is to be shown."""
    return Presentation(
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        events=controls.events,
        choices=request.n or 1,
        prompt_bytes=sum(len(message_of(message).text.encode()) for message in request.messages),
    )


def _parameters(request: ChatRequest, controls: Controls) -> TurnParameters:
    stop = request.stop or ()
    parameters = TurnParameters(
        model=request.model or "",
        sampling=wishes(request),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        response_format=_format(request.response_format),
        tools=tuple(map(tool_of, request.tools or ())),
        tool_choice=rule(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        server_tools=ServerTools.parse(controls.tools),
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        thinking=_thinking(request),
        reasoning_effort="" if request.reasoning_effort in _NO_EFFORT else request.reasoning_effort or "",
        choices=request.n or 1,
        prediction=request.prediction.text if request.prediction else "",
    )
    return narrowed(parameters, allowed(request.tool_choice))


def check_choices(request: ChatRequest, controls: Controls, *, most: int) -> None:
    """Refuse more answers than are given here, and several where the mesh would run tools for each of them."""
    wanted = request.n or 1
    if wanted > most:
        raise InvalidArgument(f"n must be at most {most} here (FACADE_MAX_CHOICES).", field="n", kind="invalid_value")
    if wanted > 1 and ServerTools.parse(controls.tools):
        raise InvalidArgument(
            "n must be 1 with tools of the mesh, which would run once for each answer; "
            'send "tools": "none" in metadata.',
            field="n",
            kind="invalid_value",
        )


def _thinking(request: ChatRequest) -> bool | None:
    """Say whether the model is to think; what the template is told comes before the effort."""
    told = request.chat_template_kwargs
    if told is not None and told.enable_thinking is not None:
        return told.enable_thinking
    return False if request.reasoning_effort in _NO_EFFORT else None


def _format(wanted: schemas.ResponseFormat | None) -> ResponseFormat:
    if wanted is None:
        return ResponseFormat()
    if wanted.json_schema is None:
        return ResponseFormat(type=wanted.type)
    schema = wanted.json_schema
    return ResponseFormat(
        type=wanted.type,
        name=schema.name,
        schema_json=canonical(schema.schema_),
        lenient=schema.strict is False,  # OpenAI's default is that, too; here it is a guarantee unless it is waived
    )


def message_of(message: schemas.Message) -> Message:
    """Give an entry of the conversation."""
    parts = _content(message.content)
    if message.role == "assistant":
        thought, refused = message.reasoning_content, message.refusal
        before = (Reasoning(text=thought),) if thought else ()
        parts = (*before, *parts, *((Refusal(text=refused),) if refused else ()))
    return Message(
        role=Role(message.role),
        parts=parts,
        tool_calls=tuple(map(_call, message.tool_calls or ())),
        tool_call_id=message.tool_call_id or "",
        # The name of a tool's result says that the mesh ran the tool; models read that of the call.
        name="" if message.role == "tool" else message.name or "",
    )


def _content(content: schemas.Content | None) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    return tuple(map(_part, content or ()))


def _part(part: schemas.Part) -> Part:
    match part:
        case schemas.TextPart():
            return Text(text=part.text)
        case schemas.RefusalPart():
            return Refusal(text=part.refusal)
        case schemas.ImagePart():
            media_type, data = split_data_url(part.image_url.url)
            return Media(mime_type=media_type, data=data)
        case schemas.AudioPart():
            data = decode_base64(part.input_audio.data)
            return Media(mime_type=f"audio/{part.input_audio.format}", data=data)


def _call(call: schemas.ToolCall) -> ToolCall:
    return ToolCall(id=call.id, name=call.function.name, arguments_json=call.function.arguments)


def tool_of(tool: schemas.Tool) -> ToolDefinition:
    """Give a tool as models are told of it."""
    function = tool.function
    return ToolDefinition(
        name=function.name,
        description=function.description or "",
        parameters_json=canonical(function.parameters) if function.parameters else "",
        strict=bool(function.strict),
    )


def unasked_results(request: ChatRequest) -> dict[str, str]:
    """Give the fields that name calls which the request does not make itself. Raises as `unasked`."""
    return unasked(
        Step(
            calls=[call.id for call in message.tool_calls],
            result_of=message.tool_call_id if message.role is Role.TOOL else None,
            field=f"messages[{index}].tool_call_id",
        )
        for index, message in enumerate(map(message_of, request.messages))
    )
