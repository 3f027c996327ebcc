"""Questions of tool servers and their answers to and from protobuf. Pure functions."""

from datetime import timedelta
from typing import assert_never

from threadmesh.api.conversation.v1 import questions_pb2 as pb
from threadmesh.codec import decode_message, encode_message
from threadmesh.errors import InvalidArgument
from threadmesh.questions import (
    Answer,
    AnswerAction,
    CallAwaitingInput,
    Form,
    InputRequired,
    Question,
    SamplingRequest,
)

_ACTIONS = {
    AnswerAction.ACCEPT: pb.ANSWER_ACTION_ACCEPT,
    AnswerAction.DECLINE: pb.ANSWER_ACTION_DECLINE,
    AnswerAction.CANCEL: pb.ANSWER_ACTION_CANCEL,
}
_ACTIONS_BACK: dict[int, AnswerAction] = {wire: action for action, wire in _ACTIONS.items()}


def encode_question(question: Question) -> pb.Question:
    """Encode a question."""
    match question.asked:
        case Form(message=message, schema_json=schema_json):
            return pb.Question(id=question.id, form=pb.Form(message=message, schema_json=schema_json))
        case SamplingRequest() as sampling:
            return pb.Question(id=question.id, sampling=_encode_sampling(sampling))
        case other:
            assert_never(other)


def decode_question(question: pb.Question) -> Question:
    """Decode a question; raises `InvalidArgument` for a kind that only a newer peer knows."""
    match question.WhichOneof("asked"):
        case "form":
            form = Form(message=question.form.message, schema_json=question.form.schema_json)
            return Question(id=question.id, asked=form)
        case "sampling":
            return Question(id=question.id, asked=_decode_sampling(question.sampling))
        case _:
            raise InvalidArgument("A question is of an unknown kind.", field="questions")


def encode_answer(answer: Answer) -> pb.Answer:
    """Encode an answer."""
    return pb.Answer(
        question_id=answer.question_id,
        action=_ACTIONS[answer.action],
        content_json=answer.content_json,
        text=answer.text,
        model=answer.model,
        truncated=answer.truncated,
    )


def decode_answer(answer: pb.Answer) -> Answer:
    """Decode an answer; an unknown action means that nobody has answered."""
    return Answer(
        question_id=answer.question_id,
        action=_ACTIONS_BACK.get(answer.action, AnswerAction.CANCEL),
        content_json=answer.content_json,
        text=answer.text,
        model=answer.model,
        truncated=answer.truncated,
    )


def encode_input_required(required: InputRequired) -> pb.CallInputRequired:
    """Encode that a call cannot go on."""
    return pb.CallInputRequired(
        name=required.name,
        server=required.server,
        questions=map(encode_question, required.questions),
        round=required.round,
        request_state=required.request_state,
        held=required.held,
        given=map(encode_answer, required.given),
    )


def decode_input_required(required: pb.CallInputRequired) -> InputRequired:
    """Decode that a call cannot go on; raises `InvalidArgument`."""
    return InputRequired(
        name=required.name,
        server=required.server,
        questions=tuple(map(decode_question, required.questions)),
        round=required.round,
        request_state=required.request_state,
        held=required.held,
        given=tuple(map(decode_answer, required.given)),
    )


def encode_call_awaiting_input(awaiting: CallAwaitingInput) -> pb.CallAwaitingInput:
    """Encode the questions to a person."""
    wire = pb.CallAwaitingInput(
        name=awaiting.name,
        server=awaiting.server,
        questions=map(encode_question, awaiting.questions),
        round=awaiting.round,
    )
    wire.timeout.FromTimedelta(timedelta(seconds=awaiting.seconds))
    return wire


def decode_call_awaiting_input(awaiting: pb.CallAwaitingInput) -> CallAwaitingInput:
    """Decode the questions to a person; raises `InvalidArgument`."""
    return CallAwaitingInput(
        name=awaiting.name,
        server=awaiting.server,
        questions=tuple(map(decode_question, awaiting.questions)),
        seconds=awaiting.timeout.ToTimedelta().total_seconds(),
        round=awaiting.round,
    )


def _encode_sampling(sampling: SamplingRequest) -> pb.SamplingRequest:
    return pb.SamplingRequest(
        messages=map(encode_message, sampling.messages),
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        stop=sampling.stop,
    )


def _decode_sampling(sampling: pb.SamplingRequest) -> SamplingRequest:
    return SamplingRequest(
        messages=tuple(map(decode_message, sampling.messages)),
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature if sampling.HasField("temperature") else None,
        stop=tuple(sampling.stop),
    )
