"""The journal of a run's calls, and what persons say of them, to and from protobuf."""

from collections.abc import Sequence
from datetime import timedelta

from facade.adapters.run_codec import encode_event, encode_items
from facade.domain.records import Batch, CallRecord, CallState, Verdict
from threadmesh import event_codec as events
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.codec import encode_part
from threadmesh.conversation import Text, ToolCall
from threadmesh.question_codec import decode_answer, decode_input_required, encode_answer, encode_input_required
from threadmesh.questions import Answer

_CALL_STATES = {
    CallState.PLANNED: pb.CALL_STATE_PLANNED,
    CallState.AWAITING_APPROVAL: pb.CALL_STATE_AWAITING_APPROVAL,
    CallState.AWAITING_INPUT: pb.CALL_STATE_AWAITING_INPUT,
    CallState.INTENT: pb.CALL_STATE_INTENT,
    CallState.FINISHED: pb.CALL_STATE_FINISHED,
}
_RESOLUTIONS = {
    "approved": pb.RESOLUTION_APPROVED,
    "denied": pb.RESOLUTION_DENIED,
    "succeeded": pb.RESOLUTION_SUCCEEDED,
    "failed": pb.RESOLUTION_FAILED,
}
_RESOLUTIONS_BACK: dict[int, str] = {wire: resolution for resolution, wire in _RESOLUTIONS.items()}
_CALL_STATES_BACK: dict[int, CallState] = {wire: state for state, wire in _CALL_STATES.items()}


def encode_batch(batch: Batch) -> pb.AppendEventsRequest:
    """Encode a write to a run."""
    return pb.AppendEventsRequest(
        run_id=batch.run_id,
        epoch=batch.epoch,
        first_sequence=batch.first_sequence,
        events=map(encode_event, batch.events),
        items=encode_items(batch.items),
        calls=map(_encode_call, batch.calls),
    )


def _encode_call(record: CallRecord) -> pb.Call:
    return pb.Call(
        id=record.call.id,
        ordinal=record.ordinal,
        name=record.call.name,
        arguments_json=record.call.arguments_json,
        state=_CALL_STATES[record.state],
        finished=events.encode_call_finished(record.finished) if record.finished else None,
        attempt=1,
    )


def decode_call(call: pb.Call) -> CallRecord:
    """Decode what is known of a tool call."""
    return CallRecord(
        call=ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json),
        ordinal=call.ordinal,
        state=_CALL_STATES_BACK.get(call.state, CallState.INTENT),
        finished=events.decode_call_finished(call.finished) if call.HasField("finished") else None,
        definition_hash=call.definition_hash,
        approved=call.approval.resolution == pb.RESOLUTION_APPROVED if call.HasField("approval") else None,
        reason=call.approval.reason or call.settlement.reason,
        settled=_RESOLUTIONS_BACK.get(call.settlement.resolution, ""),
        asked=decode_input_required(call.input_required) if call.HasField("input_required") else None,
        answers=tuple(map(decode_answer, call.answers)),
    )


def encode_verdict(run_id: str, call_id: str, verdict: Verdict) -> pb.ResolveCallRequest:
    """Encode a person's word about a call."""
    return pb.ResolveCallRequest(
        run_id=run_id,
        call_id=call_id,
        resolution=_RESOLUTIONS[verdict.resolution],
        reason=verdict.reason,
        parts=[encode_part(Text(text=verdict.output))] if verdict.output else (),
        definition_hash=verdict.definition_hash,
        arguments_hash=verdict.arguments_hash,
        request_id=verdict.request_id,
    )


def encode_require_action(batch: Batch, asked: Sequence[CallRecord], seconds: float) -> pb.RequireActionRequest:
    """Encode the last write before persons are asked."""
    request = pb.RequireActionRequest(write=encode_batch(batch), actions=map(_encode_action, asked))
    request.timeout.FromTimedelta(timedelta(seconds=seconds))
    return request


def encode_answers(
    run_id: str, call_id: str, answers: Sequence[Answer], *, in_round: int, request_id: str
) -> pb.AnswerCallRequest:
    """Encode a person's answers to a tool's server."""
    return pb.AnswerCallRequest(
        run_id=run_id, call_id=call_id, answers=map(encode_answer, answers), round=in_round, request_id=request_id
    )


def _encode_action(record: CallRecord) -> pb.RequiredAction:
    """Encode the question about a call: what its server asks, or whether it may be sent."""
    if record.state is CallState.AWAITING_INPUT and record.asked is not None:
        return pb.RequiredAction(call_id=record.call.id, input_required=encode_input_required(record.asked))
    return pb.RequiredAction(call_id=record.call.id, definition_hash=record.definition_hash)
