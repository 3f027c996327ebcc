"""Messages and ends of runs and calls as JSON that a person can read in the store; version 1 of that format."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any, assert_never

from context_svc.domain.item import Span
from context_svc.domain.run import RunFinished, RunState
from threadmesh.conversation import (
    Approval,
    CallFinished,
    CallOutcome,
    Failure,
    FinishReason,
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Usage,
)
from threadmesh.errors import Code

VERSION = 1
_ROLES = {role.value: role for role in Role}
_decode = json.JSONDecoder().raw_decode  # `decode` would look for blanks around it, of which we write none


def dump_item(message: Message, covers: Span | None, approval: Approval | None) -> str:
    """Write an item's message, what it stands for if it is a summary, and what was asked about its call."""
    record: dict[str, Any] = {"role": message.role.value, "parts": [dump_part(part) for part in message.parts]}
    if message.tool_calls:
        record["tool_calls"] = [asdict(call) for call in message.tool_calls]
    if message.tool_call_id:
        record["tool_call_id"] = message.tool_call_id
    if message.name:
        record["name"] = message.name
    if covers:
        record["covers"] = [covers.first, covers.last]
    if approval:
        record["approval"] = asdict(approval)
    return _dump(record)


def load_item(text: str) -> tuple[Message, Span | None, Approval | None]:
    """Read what `dump_item` wrote; raises `ValueError`, `KeyError` or `TypeError` when the text is not that."""
    record = _load(text)
    role, parts = _ROLES[record["role"]], tuple([load_part(part) for part in record["parts"]])
    if len(record) == 2:  # nearly all are; a window holds hundreds
        return Message(role=role, parts=parts), None, None
    covers, approval = record.get("covers"), record.get("approval")
    message = Message(
        role=role,
        parts=parts,
        tool_calls=tuple(ToolCall(**call) for call in record.get("tool_calls", ())),
        tool_call_id=record.get("tool_call_id", ""),
        name=record.get("name", ""),
    )
    span = Span(first=covers[0], last=covers[1]) if covers else None
    return message, span, Approval(**approval) if approval else None


def dump_run_finished(finished: RunFinished) -> str:
    """Write how a run ended."""
    return _dump(
        {
            "state": finished.state.value,
            "reason": finished.reason.value if finished.reason else None,
            "usage": asdict(finished.usage) if finished.usage else None,
            "failure": _dump_failure(finished.failure),
        }
    )


def load_run_finished(text: str) -> RunFinished:
    """Read how a run ended."""
    record = json.loads(text)
    return RunFinished(
        state=RunState(record["state"]),
        reason=FinishReason(record["reason"]) if record["reason"] else None,
        usage=Usage(**record["usage"]) if record["usage"] else None,
        failure=_load_failure(record["failure"]),
    )


def dump_call_finished(finished: CallFinished) -> str:
    """Write how a tool call ended."""
    return _dump(
        {
            "outcome": finished.outcome.value,
            "parts": [dump_part(part) for part in finished.parts],
            "structured_json": finished.structured_json,
            "failure": _dump_failure(finished.failure),
            "seconds": finished.seconds,
        }
    )


def load_call_finished(text: str) -> CallFinished:
    """Read how a tool call ended."""
    record = json.loads(text)
    return CallFinished(
        outcome=CallOutcome(record["outcome"]),
        parts=tuple(load_part(part) for part in record["parts"]),
        structured_json=record["structured_json"],
        failure=_load_failure(record["failure"]),
        seconds=record["seconds"],
    )


def _load(text: str) -> Any:
    record, end = _decode(text)
    if end != len(text):
        raise ValueError("something stands behind the JSON")
    return record


def _dump(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def dump_part(part: Part) -> dict[str, Any]:
    """Write a part of a message."""
    match part:
        case Text(text=text):
            return {"text": text}
        case Refusal(text=text):
            return {"refusal": text}
        case Reasoning(text=text):
            return {"reasoning": text}
        case Media(mime_type=mime_type, data=data):
            return {"media": {"mime_type": mime_type, "data": b64encode(data).decode()}}
        case other:
            assert_never(other)


def load_part(record: dict[str, Any]) -> Part:
    """Read a part of a message; raises `ValueError` for anything else."""
    if isinstance(text := record.get("text"), str):  # nearly all are; matching a pattern takes five times as long
        return Text(text=text)
    match record:
        case {"refusal": str(text)}:
            return Refusal(text=text)
        case {"reasoning": str(text)}:
            return Reasoning(text=text)
        case {"media": {"mime_type": str(mime_type), "data": str(data)}}:
            return Media(mime_type=mime_type, data=b64decode(data))
        case _:
            raise ValueError("no part of a message")


def _dump_failure(failure: Failure | None) -> dict[str, Any] | None:
    return asdict(failure) if failure else None


def _load_failure(record: dict[str, Any] | None) -> Failure | None:
    return Failure(**{**record, "code": Code(record["code"])}) if record else None
