"""Runs, their logs and calls to and from protobuf. Pure functions; `decode_*` raises `InvalidArgument`."""

import hashlib
from collections.abc import Iterable, Iterator

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from context_svc.domain.append_events import Write
from context_svc.domain.call import Call, CallState
from context_svc.domain.item import NewItem
from context_svc.domain.run import Event, Multitask, Run, RunFinished, RunState
from context_svc.domain.start import StartRequest
from context_svc.edge.tenancy import tenant_of
from context_svc.edge.threads_codec import decode_told, plain, timestamp
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads_pb
from threadmesh.conversation import Failure
from threadmesh.errors import InvalidArgument, MeshError
from threadmesh.event_codec import (
    decode_call_finished,
    decode_failure,
    decode_finish_reason,
    decode_usage,
    encode_call_finished,
    encode_failure,
    encode_finish_reason,
    encode_usage,
)

_TIMEOUT_SECONDS = 600.0
_EVENT_BYTES = 3 << 20
"""An event must fit into a message of a watch, with something to spare."""

_STATES = {
    RunState.QUEUED: pb.RUN_STATE_QUEUED,
    RunState.RUNNING: pb.RUN_STATE_RUNNING,
    RunState.SUCCEEDED: pb.RUN_STATE_SUCCEEDED,
    RunState.FAILED: pb.RUN_STATE_FAILED,
    RunState.CANCELLED: pb.RUN_STATE_CANCELLED,
    RunState.REQUIRES_ACTION: pb.RUN_STATE_REQUIRES_ACTION,
}
_STATES_BACK: dict[int, RunState] = {wire: state for state, wire in _STATES.items()}
_CALL_STATES = {
    CallState.PLANNED: pb.CALL_STATE_PLANNED,
    CallState.AWAITING_APPROVAL: pb.CALL_STATE_AWAITING_APPROVAL,
    CallState.AWAITING_INPUT: pb.CALL_STATE_AWAITING_INPUT,
    CallState.INTENT: pb.CALL_STATE_INTENT,
    CallState.SENT: pb.CALL_STATE_SENT,
    CallState.FINISHED: pb.CALL_STATE_FINISHED,
}
_CALL_STATES_BACK: dict[int, CallState] = {wire: state for state, wire in _CALL_STATES.items()}
_MULTITASKS: dict[int, Multitask] = {
    pb.MULTITASK_ENQUEUE: Multitask.ENQUEUE,
    pb.MULTITASK_INTERRUPT: Multitask.INTERRUPT,
    pb.MULTITASK_REJECT: Multitask.REJECT,
}


def decode_start(request: pb.StartRunRequest) -> StartRequest:
    """Decode a request for a run."""
    timed = request.HasField("timeout")
    return StartRequest(
        thread_id=request.thread_id,
        thread_key=plain(request.thread_key, field="thread_key"),
        input=tuple(map(_decode_item, request.input)),
        parameters_json=request.parameters_json,
        idempotency_key=plain(request.idempotency_key, field="idempotency_key"),
        fingerprint=request.fingerprint,
        attempt_key=plain(request.attempt_key, field="attempt_key"),
        repetition=request.repetition,
        instead_of=request.instead_of,
        owner=plain(request.owner, field="owner"),
        tenant=tenant_of(request),
        metadata=dict(request.metadata),
        limit=request.stored_bytes_limit,
        number=request.number if request.HasField("number") else None,
        multitask=_MULTITASKS.get(request.multitask, Multitask.ENQUEUE),
        timeout=request.timeout.ToTimedelta().total_seconds() if timed else _TIMEOUT_SECONDS,
    )


def encode_run(run: Run) -> pb.Run:
    """Encode a run."""
    return pb.Run(
        id=run.id,
        tenant=run.tenant,
        thread_id=run.thread_id,
        number=run.number,
        state=_STATES[run.state],
        epoch=run.epoch,
        owner=run.owner,
        create_time=timestamp(run.create_time),
        deadline=timestamp(run.deadline),
        first_sequence=run.first_sequence,
        next_sequence=run.next_sequence,
        first_input=run.first_item,
        first_answer=run.first_item + run.input_count,
        parameters_json=run.parameters_json,
        cancel_requested=run.cancel_requested,
        finished=_encode_finished(run.finished) if run.finished else None,
        finish_time=timestamp(run.finish_time) if run.finish_time else None,
        action_expire_time=timestamp(run.wait_until) if run.wait_until else None,
    )


def decode_states(states: Iterable[int]) -> tuple[RunState, ...]:
    """Decode the states to keep; none are all that are told of."""
    if unknown := [state for state in states if state not in _STATES_BACK]:
        raise InvalidArgument("There is no such state of a run.", field="states", state=unknown[0])
    return tuple(_STATES_BACK[state] for state in states) or tuple(_STATES)


def decode_append(request: pb.AppendEventsRequest) -> Write:
    """Decode a write."""
    return Write(
        run_id=request.run_id,
        epoch=request.epoch,
        first_sequence=request.first_sequence,
        bodies=tuple(_bodies(request.events)),
        items=tuple(map(_decode_item, request.items)),
        calls=tuple(_decode_call(call, request.run_id) for call in request.calls),
        digest=digest(request),
        finished=_decode_finished(request.finished) if request.HasField("finished") else None,
    )


def decode_writes(requests: Iterable[pb.AppendEventsRequest]) -> list[Write | MeshError]:
    """Decode writes that do not depend on each other; an error stands in place of one that is wrong."""
    return list(map(_decoded, requests))


def encode_appended(run: Run) -> pb.AppendEventsResponse:
    """Encode the acknowledgement of a write."""
    return pb.AppendEventsResponse(
        run_id=run.id,
        next_sequence=run.next_sequence,
        cancel_requested=run.cancel_requested,
        finish_time=timestamp(run.finish_time) if run.finish_time else None,
    )


def encode_outcome(outcome: Run | MeshError) -> pb.AppendOutcome:
    """Encode what became of a write."""
    if isinstance(outcome, MeshError):
        return pb.AppendOutcome(refused=encode_failure(Failure.of(outcome)))
    return pb.AppendOutcome(appended=encode_appended(outcome))


def decode_finish(request: pb.FinishRunRequest) -> Write:
    """Decode the end of a run."""
    return Write(
        run_id=request.run_id,
        epoch=request.epoch,
        first_sequence=request.first_sequence,
        bodies=tuple(_bodies(request.events)),
        items=tuple(map(_decode_item, request.items)),
        digest=digest(request),
        finished=_decode_finished(request.finished),
    )


def encode_event(event: Event) -> pb.RunEvent:
    """Encode an entry of a log, numbered and dated."""
    if isinstance(event.body, bytes):
        wire = pb.RunEvent.FromString(event.body)
    else:
        wire = pb.RunEvent(run_finished=_encode_finished(event.body))
    wire.sequence = event.sequence
    wire.create_time.FromDatetime(event.create_time)
    return wire


def encode_call(call: Call) -> pb.Call:
    """Encode a tool call."""
    return pb.Call(
        id=call.id,
        ordinal=call.ordinal,
        name=call.name,
        arguments_json=call.arguments_json,
        state=_CALL_STATES[call.state],
        finished=encode_call_finished(call.finished) if call.finished else None,
        attempt=call.attempt,
    )


def duration(seconds: float) -> Duration:
    """Encode a length of time."""
    return Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))


def digest(request: Message) -> str:
    """Give what is equal for two requests exactly when they are the same."""
    content = request.SerializeToString(deterministic=True)
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + content).hexdigest()


def _bodies(events: Iterable[pb.RunEvent]) -> Iterator[bytes]:
    for place, event in enumerate(events):
        field = f"events[{place}]"
        if event.HasField("run_finished"):
            raise InvalidArgument("A log is ended by `finished` only.", field=field)
        event.ClearField("sequence")
        event.ClearField("create_time")
        body = event.SerializeToString()
        if len(body) > _EVENT_BYTES:
            raise InvalidArgument("The event is too large.", field=field, bytes=len(body), limit=_EVENT_BYTES)
        yield body


def _decoded(request: pb.AppendEventsRequest) -> Write | MeshError:
    try:
        return decode_append(request)
    except MeshError as error:
        return error


def _decode_call(call: pb.Call, run_id: str) -> Call:
    return Call(
        id=plain(call.id, field="calls"),
        run_id=run_id,
        ordinal=call.ordinal,
        name=call.name,
        arguments_json=call.arguments_json,
        state=_CALL_STATES_BACK[call.state],
        finished=decode_call_finished(call.finished) if call.HasField("finished") else None,
        attempt=call.attempt,
    )


def _decode_item(item: threads_pb.NewItem) -> NewItem:
    if item.pinned:
        raise InvalidArgument("Pin items of a run with PinItem once they are in the thread.", field="pinned")
    return decode_told(item)


def _encode_finished(finished: RunFinished) -> pb.RunFinished:
    wire = pb.RunFinished(
        state=_STATES[finished.state],
        usage=encode_usage(finished.usage) if finished.usage else None,
        failure=encode_failure(finished.failure) if finished.failure else None,
    )
    if finished.reason:
        wire.reason = encode_finish_reason(finished.reason)
    return wire


def _decode_finished(finished: pb.RunFinished) -> RunFinished:
    return RunFinished(
        state=_STATES_BACK[finished.state],
        reason=decode_finish_reason(finished.reason) if finished.reason else None,
        usage=decode_usage(finished.usage) if finished.HasField("usage") else None,
        failure=decode_failure(finished.failure) if finished.HasField("failure") else None,
    )
