"""Runs and their events to and from protobuf."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, assert_never

from facade.domain.events import Body, ModelFinished, ModelStarted, Run, RunEvent, RunFinished, RunState
from facade.domain.records import NewItem
from threadmesh import event_codec as events
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.codec import encode_approval, encode_message
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from threadmesh.question_codec import decode_call_awaiting_input, encode_call_awaiting_input
from threadmesh.questions import CallAwaitingInput

_STATES = {
    pb.RUN_STATE_QUEUED: RunState.QUEUED,
    pb.RUN_STATE_RUNNING: RunState.RUNNING,
    pb.RUN_STATE_REQUIRES_ACTION: RunState.REQUIRES_ACTION,
    pb.RUN_STATE_SUCCEEDED: RunState.SUCCEEDED,
    pb.RUN_STATE_FAILED: RunState.FAILED,
    pb.RUN_STATE_CANCELLED: RunState.CANCELLED,
}
_STATES_BACK = {state: wire for wire, state in _STATES.items()}


def decode_run(run: pb.Run) -> Run:
    """Decode a run."""
    return Run(
        id=run.id,
        tenant=run.tenant,
        thread_id=run.thread_id,
        number=run.number,
        state=_STATES.get(run.state, RunState.QUEUED),
        create_time=run.create_time.ToDatetime(tzinfo=UTC),
        epoch=run.epoch,
        next_sequence=run.next_sequence,
        first_input=run.first_input,
        first_answer=run.first_answer,
        parameters_json=run.parameters_json,
        cancel_requested=run.cancel_requested,
        finished=decode_run_finished(run.finished) if run.HasField("finished") else None,
    )


def encode_list(
    state: RunState | None, *, thread_id: str, after: str, limit: int, tenant: str | None
) -> pb.ListRunsRequest:
    """Encode the wish for a page of runs."""
    states = [_STATES_BACK[state]] if state else []
    return pb.ListRunsRequest(thread_id=thread_id, states=states, page_token=after, page_size=limit, tenant=tenant)


def encode_items(items: Sequence[NewItem]) -> list[threads.NewItem]:
    """Encode entries for a thread."""
    return [
        threads.NewItem(
            message=encode_message(item.message),
            tokens=item.tokens,
            status=threads.ITEM_STATUS_INCOMPLETE if item.incomplete else threads.ITEM_STATUS_COMPLETED,
            approval=encode_approval(item.approval),
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
        case CallAwaitingInput() as awaiting:
            wire.call_awaiting_input.CopyFrom(encode_call_awaiting_input(awaiting))
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
        time=time_of(event, "create_time"),
        body=body,
    )


def time_of(message: Any, name: str) -> datetime | None:
    """Decode a time that a message says, or does not."""
    return getattr(message, name).ToDatetime(tzinfo=UTC) if message.HasField(name) else None


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
        trusted_context=started.trusted_context,
    )


def _decode_model_started(started: pb.ModelStarted) -> ModelStarted:
    return ModelStarted(
        model=started.model,
        backend=started.backend,
        fingerprint=started.fingerprint,
        seed=started.seed,
        item=started.item if started.HasField("item") else None,
        trusted_context=started.trusted_context,
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
    "call_awaiting_input": decode_call_awaiting_input,
    "call_started": events.decode_call_started,
    "call_progress": events.decode_call_progress,
    "call_finished": events.decode_call_finished,
    "run_finished": decode_run_finished,
}
