"""The pieces of streams to and from protobuf. Pure functions; what only a newer peer knows is read as its nearest."""

from datetime import timedelta

from threadmesh.api.conversation.v1 import conversation_pb2 as pb
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.codec import decode_part, encode_part
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallOutcome,
    CallProgress,
    CallStarted,
    Failure,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from threadmesh.errors import Code

_REASONS = {
    FinishReason.STOP: events.FINISH_REASON_STOP,
    FinishReason.LENGTH: events.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: events.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: events.FINISH_REASON_CONTENT_FILTER,
}
_REASONS_BACK: dict[int, FinishReason] = {wire: reason for reason, wire in _REASONS.items()}
_OUTCOMES = {
    CallOutcome.SUCCEEDED: events.CALL_OUTCOME_SUCCEEDED,
    CallOutcome.FAILED: events.CALL_OUTCOME_FAILED,
    CallOutcome.CANCELLED: events.CALL_OUTCOME_CANCELLED,
    CallOutcome.DENIED: events.CALL_OUTCOME_DENIED,
    CallOutcome.UNKNOWN: events.CALL_OUTCOME_UNKNOWN,
}
_OUTCOMES_BACK: dict[int, CallOutcome] = {wire: outcome for outcome, wire in _OUTCOMES.items()}

_CODES = {int(code): code for code in Code}


def encode_failure(failure: Failure) -> pb.Failure:
    """Encode a failure."""
    return pb.Failure(
        reason=failure.reason,
        code=failure.code,
        message=failure.message,
        retryable=failure.retryable,
        metadata=failure.facts,
    )


def decode_failure(failure: pb.Failure) -> Failure:
    """Decode a failure; an unknown code becomes UNKNOWN."""
    return Failure(
        reason=failure.reason,
        code=_CODES.get(failure.code, Code.UNKNOWN),
        message=failure.message,
        retryable=failure.retryable,
        facts=dict(failure.metadata),
    )


def encode_usage(usage: Usage) -> events.Usage:
    """Encode a usage."""
    return events.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        accepted_prediction_tokens=usage.accepted_prediction_tokens,
        rejected_prediction_tokens=usage.rejected_prediction_tokens,
    )


def decode_usage(usage: events.Usage) -> Usage:
    """Decode a usage."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        accepted_prediction_tokens=usage.accepted_prediction_tokens,
        rejected_prediction_tokens=usage.rejected_prediction_tokens,
    )


def encode_finish_reason(reason: FinishReason) -> "events.FinishReason.ValueType":
    """Encode a reason to stop."""
    return _REASONS[reason]


def decode_finish_reason(reason: int) -> FinishReason:
    """Decode a reason to stop; one that a newer peer knows is read as STOP."""
    return _REASONS_BACK.get(reason, FinishReason.STOP)


def encode_text_delta(delta: TextDelta) -> events.TextDelta:
    """Encode a piece of text."""
    return events.TextDelta(
        text=delta.text,
        token_ids=delta.token_ids,
        token_index=delta.token_index,
        logprobs=map(_encode_logprob, delta.logprobs),
    )


def decode_text_delta(delta: events.TextDelta) -> TextDelta:
    """Decode a piece of text."""
    return TextDelta(
        text=delta.text,
        token_ids=tuple(delta.token_ids),
        token_index=delta.token_index,
        logprobs=tuple(map(_decode_logprob, delta.logprobs)),
    )


def encode_reasoning_delta(delta: ReasoningDelta) -> events.ReasoningDelta:
    """Encode a piece of thinking."""
    return events.ReasoningDelta(text=delta.text, token_ids=delta.token_ids, token_index=delta.token_index)


def decode_reasoning_delta(delta: events.ReasoningDelta) -> ReasoningDelta:
    """Decode a piece of thinking."""
    return ReasoningDelta(text=delta.text, token_ids=tuple(delta.token_ids), token_index=delta.token_index)


def encode_tool_call_delta(delta: ToolCallDelta) -> events.ToolCallDelta:
    """Encode a piece of a tool call."""
    return events.ToolCallDelta(
        index=delta.index,
        id=delta.id,
        name=delta.name,
        arguments_json=delta.arguments_json,
        token_ids=delta.token_ids,
        token_index=delta.token_index,
    )


def decode_tool_call_delta(delta: events.ToolCallDelta) -> ToolCallDelta:
    """Decode a piece of a tool call."""
    return ToolCallDelta(
        index=delta.index,
        id=delta.id,
        name=delta.name,
        arguments_json=delta.arguments_json,
        token_ids=tuple(delta.token_ids),
        token_index=delta.token_index,
    )


def encode_call_started(started: CallStarted) -> events.CallStarted:
    """Encode the beginning of a tool call."""
    return events.CallStarted(
        name=started.name, server=started.server, arguments_json=started.arguments_json, attempt=started.attempt
    )


def encode_call_awaiting(awaiting: CallAwaiting) -> events.CallAwaiting:
    """Encode the question whether a tool may be called."""
    wire = events.CallAwaiting(
        name=awaiting.name,
        server=awaiting.server,
        arguments_json=awaiting.arguments_json,
        definition_hash=awaiting.definition_hash,
        last=awaiting.last,
    )
    wire.timeout.FromTimedelta(timedelta(seconds=awaiting.seconds))
    return wire


def decode_call_awaiting(awaiting: events.CallAwaiting) -> CallAwaiting:
    """Decode the question whether a tool may be called."""
    return CallAwaiting(
        name=awaiting.name,
        server=awaiting.server,
        arguments_json=awaiting.arguments_json,
        definition_hash=awaiting.definition_hash,
        seconds=awaiting.timeout.ToTimedelta().total_seconds(),
        last=awaiting.last,
    )


def decode_call_started(started: events.CallStarted) -> CallStarted:
    """Decode the beginning of a tool call."""
    return CallStarted(
        name=started.name, server=started.server, arguments_json=started.arguments_json, attempt=started.attempt
    )


def encode_call_progress(progress: CallProgress) -> events.CallProgress:
    """Encode a sign of life of a tool."""
    return events.CallProgress(progress=progress.progress, total=progress.total, message=progress.message)


def decode_call_progress(progress: events.CallProgress) -> CallProgress:
    """Decode a sign of life of a tool."""
    total = progress.total if progress.HasField("total") else None
    return CallProgress(progress=progress.progress, total=total, message=progress.message)


def encode_call_finished(finished: CallFinished) -> events.CallFinished:
    """Encode the end of a tool call."""
    wire = events.CallFinished(
        outcome=_OUTCOMES[finished.outcome],
        name=finished.name,
        parts=map(encode_part, finished.parts),
        structured_json=finished.structured_json,
        failure=encode_failure(finished.failure) if finished.failure else None,
    )
    wire.duration.FromTimedelta(timedelta(seconds=finished.seconds))
    return wire


def decode_call_finished(finished: events.CallFinished) -> CallFinished:
    """Decode the end of a tool call; an outcome that a newer peer knows is read as UNKNOWN."""
    return CallFinished(
        outcome=_OUTCOMES_BACK.get(finished.outcome, CallOutcome.UNKNOWN),
        name=finished.name,
        parts=tuple(map(decode_part, finished.parts)),
        structured_json=finished.structured_json,
        failure=decode_failure(finished.failure) if finished.HasField("failure") else None,
        seconds=finished.duration.ToTimedelta().total_seconds(),
    )


def _encode_logprob(logprob: TokenLogprob) -> events.TokenLogprob:
    return events.TokenLogprob(token=logprob.token, logprob=logprob.logprob, top=map(_encode_logprob, logprob.top))


def _decode_logprob(logprob: events.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(token=logprob.token, logprob=logprob.logprob, top=tuple(map(_decode_logprob, logprob.top)))
