"""Runs, their events and their journal to and from protobuf."""

from collections.abc import Callable, Sequence
from datetime import UTC, timedelta
from typing import Any, assert_never

from facade.domain.events import Body, ModelFinished, ModelStarted, Run, RunEvent, RunFinished, RunState
from facade.domain.records import Batch, CallRecord, CallState, NewItem, Verdict
from threadmesh import event_codec as events
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.codec import encode_message, encode_part
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)

_STATES = {
    pb.RUN_STATE_QUEUED: RunState.QUEUED,
    pb.RUN_STATE_RUNNING: RunState.RUNNING,
    pb.RUN_STATE_REQUIRES_ACTION: RunState.REQUIRES_ACTION,
    pb.RUN_STATE_SUCCEEDED: RunState.SUCCEEDED,
    pb.RUN_STATE_FAILED: RunState.FAILED,
    pb.RUN_STATE_CANCELLED: RunState.CANCELLED,
}
_STATES_BACK = {state: wire for wire, state in _STATES.items()}
_CALL_STATES = {
    CallState.PLANNED: pb.CALL_STATE_PLANNED,
    CallState.AWAITING_APPROVAL: pb.CALL_STATE_AWAITING_APPROVAL,
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


def decode_run(run: pb.Run) -> Run:
    """Decode a run."""
    return Run(
        id=run.id,
        tenant=run.tenant,
        thread_id=run.thread_id,
        state=_STATES.get(run.state, RunState.QUEUED),
        create_time=run.create_time.ToDatetime(tzinfo=UTC),
        epoch=run.epoch,
        next_sequence=run.next_sequence,
        first_answer=run.first_answer,
        parameters_json=run.parameters_json,
        cancel_requested=run.cancel_requested,
        finished=decode_run_finished(run.finished) if run.HasField("finished") else None,
    )


def encode_list(state: RunState | None, *, after: str, limit: int, tenant: str | None) -> pb.ListRunsRequest:
    """Encode the wish for a page of runs."""
    states = [_STATES_BACK[state]] if state else []
    return pb.ListRunsRequest(states=states, page_token=after, page_size=limit, tenant=tenant)


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


def encode_items(items: Sequence[NewItem]) -> list[threads.NewItem]:
    """Encode entries for a thread."""
    return [
        threads.NewItem(
            message=encode_message(item.message),
            tokens=item.tokens,
            status=threads.ITEM_STATUS_INCOMPLETE if item.incomplete else threads.ITEM_STATUS_COMPLETED,
        )
        for item in items
    ]


def encode_event(event: RunEvent) -> pb.RunEvent:
    """Encode an entry of a log."""
    wire = pb.RunEvent(round=event.round, choice=event.choice, call_id=event.call_id, hidden=event.hidden)
    match event.body:
        case ModelStarted() as started:
            wire.model_started.CopyFrom(_encode_model_started(started))
        case TextDelta() as delta:
            wire.text_delta.CopyFrom(events.encode_text_delta(delta))
        case ReasoningDelta() as delta:
            wire.reasoning_delta.CopyFrom(events.encode_reasoning_delta(delta))
        case ToolCallDelta() as delta:
            wire.tool_call_delta.CopyFrom(events.encode_tool_call_delta(delta))
        case ModelFinished(reason=reason, usage=usage):
            wire.model_finished.reason = events.encode_finish_reason(reason)
            wire.model_finished.usage.CopyFrom(events.encode_usage(usage))
        case CallAwaiting() as awaiting:
            wire.call_awaiting.CopyFrom(events.encode_call_awaiting(awaiting))
        case CallStarted() as started:
            wire.call_started.CopyFrom(events.encode_call_started(started))
        case CallProgress() as progress:
            wire.call_progress.CopyFrom(events.encode_call_progress(progress))
        case CallFinished() as finished:
            wire.call_finished.CopyFrom(events.encode_call_finished(finished))
        case RunFinished() as ended:
            wire.run_finished.CopyFrom(encode_run_finished(ended))
        case other:
            assert_never(other)
    return wire


def decode_event(event: pb.RunEvent) -> RunEvent | None:
    """Decode an entry of a log; None for a kind that only a newer writer knows."""
    kind = event.WhichOneof("event")
    if kind is None:
        return None
    body = _BODIES[kind](getattr(event, kind))
    return RunEvent(
        sequence=event.sequence,
        round=event.round,
        choice=event.choice,
        call_id=event.call_id,
        hidden=event.hidden,
        body=body,
    )


def encode_run_finished(finished: RunFinished) -> pb.RunFinished:
    """Encode the end of a run."""
    return pb.RunFinished(
        state=_STATES_BACK[finished.state],
        reason=events.encode_finish_reason(finished.reason),
        usage=events.encode_usage(finished.usage),
        failure=events.encode_failure(finished.failure) if finished.failure else None,
    )


def decode_run_finished(finished: pb.RunFinished) -> RunFinished:
    """Decode the end of a run."""
    return RunFinished(
        state=_STATES.get(finished.state, RunState.FAILED),
        reason=events.decode_finish_reason(finished.reason),
        usage=events.decode_usage(finished.usage),
        failure=events.decode_failure(finished.failure) if finished.HasField("failure") else None,
    )


def _encode_model_started(started: ModelStarted) -> pb.ModelStarted:
    return pb.ModelStarted(
        model=started.model,
        backend=started.backend,
        fingerprint=started.fingerprint,
        seed=started.seed,
        item=started.item,
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
    """Encode the last write before persons decide."""
    actions = (pb.RequiredAction(call_id=each.call.id, definition_hash=each.definition_hash) for each in asked)
    request = pb.RequireActionRequest(write=encode_batch(batch), actions=actions)
    request.timeout.FromTimedelta(timedelta(seconds=seconds))
    return request


def _decode_model_started(started: pb.ModelStarted) -> ModelStarted:
    return ModelStarted(
        model=started.model,
        backend=started.backend,
        fingerprint=started.fingerprint,
        seed=started.seed,
        item=started.item if started.HasField("item") else None,
    )


def _decode_model_finished(finished: pb.ModelFinished) -> ModelFinished:
    return ModelFinished(reason=events.decode_finish_reason(finished.reason), usage=events.decode_usage(finished.usage))


_BODIES: dict[str, Callable[[Any], Body]] = {
    "model_started": _decode_model_started,
    "text_delta": events.decode_text_delta,
    "reasoning_delta": events.decode_reasoning_delta,
    "tool_call_delta": events.decode_tool_call_delta,
    "model_finished": _decode_model_finished,
    "call_awaiting": events.decode_call_awaiting,
    "call_started": events.decode_call_started,
    "call_progress": events.decode_call_progress,
    "call_finished": events.decode_call_finished,
    "run_finished": decode_run_finished,
}
