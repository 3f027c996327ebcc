"""Requests and events of the tools service to and from protobuf. Pure functions, total by construction."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import assert_never

from threadmesh.api.conversation.v1.events_pb2 import CallFinished as WireFinished
from threadmesh.api.conversation.v1.events_pb2 import CallProgress as WireProgress
from threadmesh.api.conversation.v1.events_pb2 import CallStarted as WireStarted
from threadmesh.api.conversation.v1.questions_pb2 import CallInputRequired as WireRequired
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.breaker import BreakerState
from threadmesh.codec import decode_tool_call, encode_tool_definition
from threadmesh.conversation import CallFinished, CallProgress, CallStarted
from threadmesh.event_codec import encode_call_finished, encode_call_progress, encode_call_started, encode_failure
from threadmesh.question_codec import decode_answer, encode_input_required
from threadmesh.questions import InputRequired
from threadmesh.rpc.server import MESSAGE_BYTES
from tools_svc.domain.call import Batch, CallEvent, Continuation, RunEvent
from tools_svc.domain.capability import Ranked
from tools_svc.domain.catalog import Catalogue, Quarantined
from tools_svc.domain.shadowing import warnings
from tools_svc.domain.tool import ApprovalRule, Effect, Rest, Server, ServerState, Tool

_EFFECTS = {
    Effect.READ_ONLY: pb.EFFECT_READ_ONLY,
    Effect.IDEMPOTENT: pb.EFFECT_IDEMPOTENT,
    Effect.KEYED: pb.EFFECT_KEYED,
    Effect.UNSAFE: pb.EFFECT_UNSAFE,
}
_APPROVAL = {
    ApprovalRule.NEVER: pb.APPROVAL_RULE_NEVER,
    ApprovalRule.ALWAYS: pb.APPROVAL_RULE_ALWAYS,
    ApprovalRule.AFTER_UNTRUSTED: pb.APPROVAL_RULE_AFTER_UNTRUSTED,
}
_STATES = {
    ServerState.CONNECTING: pb.SERVER_STATE_CONNECTING,
    ServerState.READY: pb.SERVER_STATE_READY,
    ServerState.UNAVAILABLE: pb.SERVER_STATE_UNAVAILABLE,
}
_LARGEST_CATALOGUE = MESSAGE_BYTES - 1024 * 1024
"""Bytes of tools in one message, which has to hold servers and held back definitions as well."""
_BREAKER_STATES = {
    BreakerState.CLOSED: pb.BREAKER_STATE_UNSPECIFIED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: pb.BREAKER_STATE_HALF_OPEN,
}


def decode_batch(request: pb.ExecuteToolsRequest, *, ids: Mapping[str, str]) -> Batch:
    """Decode a batch of calls that came with the `ids` of a request."""
    timeout = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else None
    return Batch(
        calls=tuple(map(decode_tool_call, request.calls)),
        run_id=request.run_id,
        thread_id=request.thread_id,
        request_id=ids.get("request_id", ""),
        traceparent=ids.get("traceparent", ""),
        epoch=request.epoch,
        timeout_seconds=timeout,
        resumed=request.resumed,
        approvals={approval.call_id: approval.definition_hash for approval in request.approvals},
        answers_questions=request.answers_questions,
        continuations={each.call_id: _decode_continuation(each) for each in request.continuations},
        trusted_context=request.trusted_context,
    )


def _decode_continuation(continuation: pb.Continuation) -> Continuation:
    return Continuation(
        round=continuation.round,
        answers=tuple(map(decode_answer, continuation.answers)),
        request_state=continuation.request_state,
        held=continuation.held,
    )


def encode_catalogue(
    catalogue: Catalogue,
    capabilities: Sequence[tuple[str, Sequence[Ranked]]] = (),
    *,
    names: Collection[str] = (),
    brief: bool = False,
) -> pb.Catalogue:
    """Encode the catalogue, with the capabilities and the present ranks of their tools.

    Of the tools only those of these `names`, if there are any; `brief` leaves out what only an operator reads.
    """
    having: dict[str, list[str]] = {}
    for name, members in capabilities:
        for member in members:
            having.setdefault(member.alternative.tool, []).append(name)
    told = warnings(catalogue)
    wanted = [tool for tool in (*catalogue.tools, *catalogue.away) if not names or tool.name in names]
    tools = [encode_tool(tool, having.get(tool.name, ()), told.get(tool.name, ()), brief=brief) for tool in wanted]
    fitting = list(_fitting(tools))
    away = {tool.name for tool in catalogue.away}
    held = [each for each in catalogue.quarantined if not names or each.tool.name in names]
    return pb.Catalogue(
        capabilities=(_encode_capability(name, members) for name, members in capabilities),
        tools=(tool for tool in fitting if tool.definition.name not in away),
        away_tools=(tool for tool in fitting if tool.definition.name in away),
        servers=(encode_server(server, listed=catalogue.listed(server.name)) for server in catalogue.servers),
        quarantined=(encode_quarantined(each, told.get(each.tool.name, ()), brief=brief) for each in held),
    )


def _fitting(tools: Sequence[pb.Tool]) -> Iterator[pb.Tool]:
    """Give what fits into a message: without the schemas of results if need be, and then without the last tools."""
    room = _LARGEST_CATALOGUE
    crowded = sum(tool.ByteSize() for tool in tools) > room
    for tool in tools:
        if crowded:
            tool.ClearField("output_schema_json")
        room -= tool.ByteSize()
        if room >= 0:
            yield tool


def _encode_capability(name: str, members: Sequence[Ranked]) -> pb.Capability:
    return pb.Capability(name=name, members=map(_encode_member, members))


def _encode_member(member: Ranked) -> pb.CapabilityMember:
    wire = pb.CapabilityMember(
        tool=member.alternative.tool,
        hindrance=member.hindrance,
        preference=member.alternative.preference,
        failing=member.pulse.failing,
    )
    if member.pulse.seconds is not None:
        wire.latency.FromTimedelta(timedelta(seconds=member.pulse.seconds))
    return wire


def encode_tool(
    tool: Tool, capabilities: Sequence[str] = (), warnings: Sequence[str] = (), *, brief: bool = False
) -> pb.Tool:
    """Encode a tool, with the names of the capabilities that it has, and what is to be said of it."""
    return pb.Tool(
        definition=encode_tool_definition(tool.definition),
        server=tool.server,
        server_tool=tool.server_tool,
        title=tool.title,
        output_schema_json="" if brief else tool.output_schema_json,
        effect=_EFFECTS[tool.effect],
        definition_hash=tool.definition_hash,
        requires_approval=tool.requires_approval,
        approval=_APPROVAL[tool.approval],
        untrusted=tool.untrusted,
        queued=tool.queued,
        capabilities=capabilities,
        warnings=warnings,
    )


def encode_quarantined(held: Quarantined, warnings: Sequence[str] = (), *, brief: bool = False) -> pb.QuarantinedTool:
    """Encode a tool that waits for approval, with what is to be said of it."""
    tool, pin = held.tool, held.pin
    wire = pb.QuarantinedTool(
        name=tool.name,
        server=tool.server,
        server_tool=tool.server_tool,
        pinned=pb.Definition(hash=pin.definition_hash, definition_json="" if brief else pin.definition_json),
        present=pb.Definition(hash=tool.definition_hash, definition_json="" if brief else tool.definition_json),
        warnings=warnings,
    )
    wire.pinned.pin_time.FromDatetime(pin.pinned_at)
    return wire


def encode_server(server: Server, *, listed: bool) -> pb.Server:
    """Encode a server; `listed` if it is known what tools it has."""
    return pb.Server(
        name=server.name,
        state=_STATES[server.state],
        failure=encode_failure(server.failure) if server.failure else None,
        tool_count=server.tool_count,
        protocol_version=server.protocol_version,
        resource_count=server.resource_count,
        prompt_count=server.prompt_count,
        breaker=_encode_rest(server.rest) if server.rest else None,
        listed=listed,
    )


def _encode_rest(rest: Rest) -> pb.Breaker:
    wire = pb.Breaker(state=_BREAKER_STATES[rest.state])
    wire.retry_time.FromDatetime(rest.retry_time)
    return wire


def encode_executed(event: RunEvent, *, sequence: int) -> pb.ExecuteToolsResponse:
    """Encode an event of a batch under its number in the stream."""
    response = pb.ExecuteToolsResponse(sequence=sequence, call_id=event.call_id)
    match _encode_event(event.event):
        case WireStarted() as started:
            response.started.CopyFrom(started)
        case WireProgress() as progress:
            response.progress.CopyFrom(progress)
        case WireFinished() as finished:
            response.finished.CopyFrom(finished)
        case WireRequired() as required:
            response.input_required.CopyFrom(required)
    return response


def encode_watched(event: RunEvent) -> pb.WatchCallsResponse:
    """Encode an event of a run's calls under its number in the run."""
    response = pb.WatchCallsResponse(sequence=event.sequence, call_id=event.call_id)
    match _encode_event(event.event):
        case WireStarted() as started:
            response.started.CopyFrom(started)
        case WireProgress() as progress:
            response.progress.CopyFrom(progress)
        case WireFinished() as finished:
            response.finished.CopyFrom(finished)
        case WireRequired() as required:
            response.input_required.CopyFrom(required)
    return response


def _encode_event(event: CallEvent) -> WireStarted | WireProgress | WireFinished | WireRequired:
    match event:
        case CallStarted():
            return encode_call_started(event)
        case CallProgress():
            return encode_call_progress(event)
        case CallFinished():
            return encode_call_finished(event)
        case InputRequired():
            return encode_input_required(event)
        case other:
            assert_never(other)
