"""A request for a response to what the domain understands."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facade.domain.parameters import ResponseFormat, ServerTools, TurnParameters
from facade.domain.ports import Tool
from facade.domain.records import NewRun
from facade.edge.chat.sampling import wishes
from facade.edge.chat.schemas import canonical
from facade.edge.controls import Controls
from facade.edge.responses import schemas
from facade.edge.responses.input_items import (
    FunctionCallItem,
    FunctionOutputItem,
    McpApprovalItem,
    McpApprovalRequestItem,
    McpListToolsItem,
)
from facade.edge.responses.messages import messages_of
from facade.edge.responses.schemas import ResponseRequest
from facade.edge.responses.stored import Echo
from threadmesh.conversation import ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.errors import InvalidArgument

_SAID_BEFORE = McpListToolsItem | McpApprovalRequestItem
_NO_EFFORT = ("none", "minimal")
_LOGPROBS = "message.output_text.logprobs"
_INCLUDED = {_LOGPROBS, "reasoning.encrypted_content", "message.input_image.image_url"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for, with the tools that its servers have now, and the thread that it goes on with."""

    request: ResponseRequest
    control: Controls
    catalogue: Sequence[Tool] = ()
    thread_id: str = ""

    @property
    def alone(self) -> bool:
        """Whether all that the model is told stands in the request itself."""
        behind = self.request.previous_response_id or getattr(self.request, "conversation", None)
        return not (behind or self.thread_id or self.control.thread_id or self.control.thread_key)


def new_run(asked: Asked, *, tenant: str, cache_scope: str, timeout_seconds: float) -> NewRun:
    """Give the run that answers the request. Raises `InvalidArgument` for servers and tools that are not there."""
    request, control = asked.request, asked.control
    if asked.alone:
        _check_call_ids(request)
    return NewRun(
        input=messages_of(request.input),
        parameters=_parameters(asked, cache_scope=cache_scope),
        thread_id=asked.thread_id or control.thread_id,
        thread_key="" if asked.thread_id else control.thread_key,
        idempotency_key=control.idempotency_key,
        tenant=tenant,
        fingerprint=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
        multitask=control.multitask,
        timeout_seconds=timeout_seconds,
    )


def needs_catalogue(request: ResponseRequest) -> bool:
    """Say whether it names servers of the mesh."""
    return any(isinstance(tool, schemas.McpTool) for tool in request.tools or ())


def _parameters(asked: Asked, *, cache_scope: str) -> TurnParameters:
    request = asked.request
    check_include(request.include or ())
    offered = _offered(asked)
    reasoning = request.reasoning.effort if request.reasoning else None
    return TurnParameters(
        model=request.model or "",
        sampling=wishes(request),
        max_tokens=request.max_output_tokens,
        response_format=_format(request.text),
        tools=tuple(_function(tool) for tool in request.tools or () if isinstance(tool, schemas.FunctionTool)),
        tool_choice=_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        server_tools=_server_tools(asked, offered),
        top_logprobs=_top_logprobs(request),
        thinking=False if reasoning in _NO_EFFORT else None,
        reasoning_effort="" if reasoning in _NO_EFFORT else reasoning or "",
        cache_scope=cache_scope,
        instructions=request.instructions or "",
        max_tool_calls=request.max_tool_calls,
        whole_thread=request.truncation == "disabled",
        asking_tools=_asking(request, offered),
        response_json=_echo(request, offered).to_json(),
    )


def _offered(asked: Asked) -> dict[str, list[Tool]]:
    """Choose the tools of each server that the request names."""
    offered: dict[str, list[Tool]] = {}
    for index, wanted in enumerate(asked.request.tools or ()):
        if not isinstance(wanted, schemas.McpTool):
            continue
        label, field = wanted.server_label, f"tools[{index}].server_label"
        there = {_short(tool): tool for tool in asked.catalogue if tool.server == label}
        if not there:
            raise InvalidArgument(f"There is no server {label} with tools now; GET /v1/tools lists them.", field=field)
        allowed = wanted.allowed_tools
        names = allowed.tool_names if isinstance(allowed, schemas.ToolFilter) else allowed
        if missing := sorted(set(names or ()) - set(there)):
            field = f"tools[{index}].allowed_tools"
            raise InvalidArgument(f"The server {label} has no tool {missing[0][:64]}.", field=field)
        offered[label] = [tool for name, tool in there.items() if names is None or name in names]
    return offered


def _check_call_ids(request: ResponseRequest) -> None:
    """Refuse an output that answers no call before it, or answers one twice."""
    waiting: set[str] = set()
    for index, item in enumerate(() if isinstance(request.input, str) else request.input):
        if isinstance(item, FunctionCallItem):
            waiting.add(item.call_id)
        elif isinstance(item, FunctionOutputItem):
            if item.call_id not in waiting:
                field = f"input[{index}].call_id"
                raise InvalidArgument(f"{field} names no call that waits.", field=field, kind="tool_call_id_unknown")
            waiting.remove(item.call_id)


def _asking(request: ResponseRequest, offered: Mapping[str, Sequence[Tool]]) -> tuple[str, ...]:
    servers = [tool for tool in request.tools or () if isinstance(tool, schemas.McpTool)]
    return tuple(
        tool.definition.name
        for server in servers
        for tool in offered[server.server_label]
        if server.needs_approval(_short(tool))
    )


def approvals(request: ResponseRequest) -> list[McpApprovalItem]:
    """Give the answers to questions that the request consists of; none if it is a request of its own.

    Raises `InvalidArgument` if it is something of both.
    """
    if isinstance(request.input, str):
        return []
    answers = [item for item in request.input if isinstance(item, McpApprovalItem)]
    rest = [item for item in request.input if not isinstance(item, McpApprovalItem | _SAID_BEFORE)]
    if answers and rest and request.previous_response_id:
        raise InvalidArgument("Approvals come alone; say the rest with the next request.", field="input")
    return answers


def _server_tools(asked: Asked, offered: Mapping[str, Sequence[Tool]]) -> ServerTools:
    named = tuple(tool.definition.name for tools in offered.values() for tool in tools)
    said = ServerTools.parse(asked.control.tools)
    return said if said.everything else ServerTools(names=tuple(dict.fromkeys((*said.names, *named))))


def _echo(request: ResponseRequest, offered: Mapping[str, Sequence[Tool]]) -> Echo:
    given = request.model_dump(mode="json", by_alias=True, exclude_none=True)
    fields = {name: given.get(name, otherwise) for name, otherwise in _REPEATED.items()}
    fields["conversation"] = request.conversation_named()
    fields["text"] = {"format": {"type": "text"}, **given.get("text", {})}
    listed = [{"server_label": label, "tools": [_told(tool) for tool in tools]} for label, tools in offered.items()]
    return Echo(
        fields=fields,
        listed=listed,
        background=bool(request.background),
        stored=request.store is not False,
        inputs=len(messages_of(request.input)),
    )


_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": "",
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "truncation": "auto",
    "user": None,
}
"""What a response repeats of its request, and what it says where that says nothing."""


def _told(tool: Tool) -> dict[str, Any]:
    schema = tool.definition.parameters_json
    return {
        "name": _short(tool),
        "description": tool.definition.description or None,
        "input_schema": json.loads(schema) if schema else {"type": "object"},
        "annotations": None,
    }


def _short(tool: Tool) -> str:
    return tool.definition.name.removeprefix(f"{tool.server}__")


def check_include(names: Sequence[str]) -> None:
    """Raise `InvalidArgument` for what is asked to be shown and cannot be."""
    for index, name in enumerate(names):
        if name not in _INCLUDED:
            raise InvalidArgument(f"{name[:64]} is not part of responses here.", field=f"include[{index}]")


def _top_logprobs(request: ResponseRequest) -> int | None:
    wanted = bool(request.top_logprobs) or _LOGPROBS in (request.include or ())
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


def _function(tool: schemas.FunctionTool) -> ToolDefinition:
    return ToolDefinition(
        name=tool.name,
        description=tool.description or "",
        parameters_json=canonical(tool.parameters) if tool.parameters else "",
        strict=bool(tool.strict),
    )


def _choice(choice: str | schemas.NamedFunction | schemas.NamedMcpTool | None) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case str():
            return ToolChoice(mode=ToolChoiceMode(choice))
        case schemas.NamedFunction():
            return ToolChoice(mode=ToolChoiceMode.REQUIRED, name=choice.name)
        case schemas.NamedMcpTool():
            return ToolChoice(mode=ToolChoiceMode.REQUIRED, name=f"{choice.server_label}__{choice.name}")
