"""What persons are asked and say, to and from protobuf; `decode_*` raises `InvalidArgument`."""

from dataclasses import replace

from context_svc.domain.action import Action, Decision, Resolution
from context_svc.domain.append_events import Write
from context_svc.domain.call import Call
from context_svc.domain.decide_call import Word
from context_svc.domain.run import Run
from context_svc.edge.runs_codec import decode_append, digest, encode_call
from context_svc.edge.threads_codec import plain, timestamp
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.conversation.v1 import questions_pb2
from threadmesh.codec import decode_part
from threadmesh.errors import InvalidArgument
from threadmesh.forms import FormSchema
from threadmesh.question_codec import decode_answer, decode_input_required, encode_answer, encode_input_required
from threadmesh.questions import Answer, Form, InputRequired

_RESOLUTIONS = {
    Resolution.APPROVED: pb.RESOLUTION_APPROVED,
    Resolution.DENIED: pb.RESOLUTION_DENIED,
    Resolution.SUCCEEDED: pb.RESOLUTION_SUCCEEDED,
    Resolution.FAILED: pb.RESOLUTION_FAILED,
}
_RESOLUTIONS_BACK: dict[int, Resolution] = {wire: resolution for resolution, wire in _RESOLUTIONS.items()}


def decode_require_action(request: pb.RequireActionRequest) -> tuple[Write, list[Action], float]:
    """Decode a last write, the calls it asks about, and for how many seconds."""
    if request.write.HasField("finished"):
        raise InvalidArgument("A run that waits has no end yet.", field="write")
    write = replace(decode_append(request.write), digest=digest(request))
    actions = [_decode_action(action) for action in request.actions]
    return write, actions, request.timeout.ToTimedelta().total_seconds()


def _decode_action(action: pb.RequiredAction) -> Action:
    return Action(
        call_id=plain(action.call_id, field="actions"),
        definition_hash=action.definition_hash,
        asked=_decode_asked(action.input_required) if action.HasField("input_required") else None,
    )


def _decode_asked(required: questions_pb2.CallInputRequired) -> InputRequired:
    asked = decode_input_required(required)
    for question in asked.questions:
        if not isinstance(question.asked, Form):
            raise InvalidArgument("A person is asked with a form.", field="actions")
        FormSchema(question.asked.schema_json)
    return asked


def decode_answers(request: pb.AnswerCallRequest) -> tuple[Answer, ...]:
    """Decode a person's answers."""
    return tuple(map(decode_answer, request.answers))


def decode_word(request: pb.ResolveCallRequest) -> Word:
    """Decode what a person says."""
    return Word(
        resolution=_RESOLUTIONS_BACK[request.resolution],
        reason=plain(request.reason, field="reason"),
        parts=tuple(map(decode_part, request.parts)),
        definition_hash=request.definition_hash,
        arguments_hash=request.arguments_hash,
        request_id=plain(request.request_id, field="request_id"),
    )


def encode_decided(call: Call, run: Run) -> pb.Call:
    """Encode a call with what persons were asked and have said about it."""
    wire = encode_call(call)
    for action in run.actions:
        if action.call_id == call.id:
            _add(wire, action)
    return wire


def _add(wire: pb.Call, action: Action) -> None:
    decision = action.decision
    if action.asked is not None:
        wire.input_required.CopyFrom(encode_input_required(action.asked))
        wire.answers.extend(map(encode_answer, decision.answers if decision else ()))
        return
    if decision is None or decision.resolution.permits:
        wire.definition_hash = action.definition_hash
    if decision is not None:
        of = wire.approval if decision.resolution.permits else wire.settlement
        of.CopyFrom(_encode_decision(decision))


def _encode_decision(decision: Decision) -> pb.Decision:
    return pb.Decision(
        resolution=_RESOLUTIONS[decision.resolution], reason=decision.reason, decide_time=timestamp(decision.time)
    )
