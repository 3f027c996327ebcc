"""What chunks and completions have in common."""

import json
from collections.abc import Sequence
from typing import Any, assert_never

from facade.domain.events import Run, RunEvent
from threadmesh.conversation import (
    CallAwaiting,
    CallFinished,
    CallProgress,
    CallStarted,
    Text,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    arguments_hash,
)
from threadmesh.questions import CallAwaitingInput, Form, Question, SamplingRequest

SERVICE_TIER = "default"
"""The tier that answers are made with, whichever was asked for: there is one."""


def completion_id(run: Run) -> str:
    """Give the completion's id, from which the run's id can be read back."""
    return f"chatcmpl-{run.id.removeprefix('run_')}"


def run_id(completion: str) -> str:
    """Give the id of the run that a completion is of."""
    return f"run_{completion.removeprefix('chatcmpl-')}"


def usage_body(usage: Usage) -> dict[str, Any]:
    """Give a usage in OpenAI's words."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }


def call_event(event: RunEvent) -> dict[str, Any]:
    """Give what happened to a tool of the mesh, for the `threadmesh` object of an otherwise empty chunk.

    Values are snapshots: clients that add up deltas must never see this inside one.
    """
    told: dict[str, Any] = {"call_id": event.call_id, "seq": event.sequence}
    match event.body:
        case CallAwaiting() as asked:
            return {"event": "tool.awaiting_approval", **told, **_question(asked)}
        case CallAwaitingInput(name=name, server=server, questions=questions, seconds=seconds, round=number):
            forms = {"questions": list(map(question_body, questions)), "seconds": seconds, "question_round": number}
            return {"event": "tool.input_required", **told, "name": name, "server": server, **forms}
        case CallStarted(name=name, server=server, arguments_json=arguments):
            return {"event": "tool.started", **told, "name": name, "server": server, "arguments": arguments}
        case CallProgress(progress=progress, total=total, message=message):
            return {"event": "tool.progress", **told, "progress": progress, "total": total, "message": message}
        case CallFinished(outcome=outcome, name=name, parts=parts, failure=failure, seconds=seconds):
            output = "\n".join(part.text for part in parts if isinstance(part, Text))
            error = failure.message if failure else None
            ended = {"outcome": outcome.value, "output": output, "error": error, "seconds": seconds}
            return {"event": "tool.finished", **told, "name": name, **ended}
        case _:
            return told


def question_body(question: Question) -> dict[str, Any]:
    """Give what a tool's server asks a person."""
    match question.asked:
        case Form(message=message, schema_json=schema_json):
            return {"id": question.id, "message": message, "schema": json.loads(schema_json)}
        case SamplingRequest():
            return {"id": question.id, "message": "A model is asked.", "schema": {}}
        case other:
            assert_never(other)


def _question(asked: CallAwaiting) -> dict[str, Any]:
    return {
        "name": asked.name,
        "server": asked.server,
        "arguments": asked.arguments_json,
        "arguments_hash": arguments_hash(asked.arguments_json),
        "definition_hash": asked.definition_hash,
        "seconds": asked.seconds,
    }


def logprobs_body(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """Give token probabilities in OpenAI's words; None when none were asked for."""
    if not logprobs:
        return None
    content = [{**_logprob(each), "top_logprobs": [_logprob(top) for top in each.top]} for each in logprobs]
    return {"content": content, "refusal": None}


def _logprob(logprob: TokenLogprob) -> dict[str, Any]:
    text = logprob.token.decode("utf-8", errors="replace")
    return {"token": text, "logprob": logprob.logprob, "bytes": list(logprob.token)}


def call_piece(delta: ToolCallDelta) -> dict[str, Any]:
    """Give a piece of a tool call in OpenAI's words; the id and the name come with the first only."""
    piece: dict[str, Any] = {"index": delta.index}
    function: dict[str, str] = {"arguments": delta.arguments_json}
    if delta.id:
        piece |= {"id": delta.id, "type": "function"}
        function = {"name": delta.name, **function}
    return {**piece, "function": function}
