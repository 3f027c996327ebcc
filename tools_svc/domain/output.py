"""How a call ends: from a tool's answer, or from what kept it from answering."""

import json
from typing import assert_never

from threadmesh.conversation import CallFinished, CallOutcome, Failure, Media, Part, Reasoning, Refusal, Text
from threadmesh.errors import MeshError, ToolFailed, ToolResultInvalid, ToolResultTooLarge
from tools_svc.domain.call import ToolOutput
from tools_svc.domain.ports import Schema

LARGEST_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""What a result may hold: a gRPC message of 4 MiB less room for what goes around it."""

LARGEST_MEDIA_BYTES = 3 * 1024 * 1024
"""What one image or sound may hold: the limit of `conversation.v1.Media`."""


MOST_PARTS = 1_000
"""What a result may consist of: each part costs whoever passes it on some time, however small it is."""


def finish(output: ToolOutput, schema: Schema | None) -> CallFinished:
    """End a call with its tool's answer, unless that is too large or not what the tool's output schema promises."""
    try:
        _check_size(output)
        if not output.is_error:
            _check_structure(output, schema)
    except MeshError as error:
        return failed(error)
    return CallFinished(
        outcome=CallOutcome.FAILED if output.is_error else CallOutcome.SUCCEEDED,
        parts=output.parts,
        structured_json=output.structured_json,
        failure=Failure.of(ToolFailed()) if output.is_error else None,
    )


def failed(error: MeshError, outcome: CallOutcome = CallOutcome.FAILED) -> CallFinished:
    """End a call with an error; the model reads its message."""
    return CallFinished(outcome=outcome, parts=(Text(text=error.message),), failure=Failure.of(error))


def size_of(output: ToolOutput) -> int:
    """Give the bytes that an answer holds."""
    return sum(_size(part) for part in output.parts) + len(output.structured_json.encode())


def _check_size(output: ToolOutput) -> None:
    if len(output.parts) > MOST_PARTS:
        raise ToolResultTooLarge(parts=len(output.parts), limit=MOST_PARTS)
    total = size_of(output)
    largest = max((_size(part) for part in output.parts if isinstance(part, Media)), default=0)
    if total > LARGEST_BYTES or largest > LARGEST_MEDIA_BYTES:
        raise ToolResultTooLarge(bytes=total)


def _size(part: Part) -> int:
    match part:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return len(text.encode())
        case Media(data=data):
            return len(data)
        case other:
            assert_never(other)


def _check_structure(output: ToolOutput, schema: Schema | None) -> None:
    if schema is None:
        return
    if not output.structured_json:
        raise ToolResultInvalid("The tool ran, but gave no structured result although it declares one.")
    if complaint := schema.complaint(json.loads(output.structured_json)):
        raise ToolResultInvalid(f"The tool ran, but its result does not fit what it declares; {complaint}.")
