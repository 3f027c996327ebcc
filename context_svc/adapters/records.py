"""Messages and ends of runs and calls as JSON that a person can read in the store; version 1 of that format."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any, assert_never

from context_svc.domain.run import RunFinished, RunState
from threadmesh.conversation import (
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
_load = json.JSONDecoder().decode


def dump_message(message: Message) -> str:
    """Write a message."""
    record: dict[str, Any] = {"role": message.role.value, "parts": [_dump_part(part) for part in message.parts]}
    if message.tool_calls:
        record["tool_calls"] = [asdict(call) for call in message.tool_calls]
    if message.tool_call_id:
        record["tool_call_id"] = message.tool_call_id
    if message.name:
        record["name"] = message.name
    return _dump(record)


def load_message(text: str) -> Message:
    """Read a message; raises `ValueError`, `KeyError` or `TypeError` when the text is not one."""
    record = _load(text)
    return Message(
        role=_ROLES[record["role"]],
        parts=tuple(map(_load_part, record["parts"])),
        tool_calls=tuple(ToolCall(**call) for call in record.get("tool_calls", ())),
        tool_call_id=record.get("tool_call_id", ""),
        name=record.get("name", ""),
    )


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
            "parts": [_dump_part(part) for part in finished.parts],
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
        parts=tuple(_load_part(part) for part in record["parts"]),
        structured_json=record["structured_json"],
        failure=_load_failure(record["failure"]),
        seconds=record["seconds"],
    )


def _dump(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _dump_part(part: Part) -> dict[str, Any]:
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


def _load_part(record: dict[str, Any]) -> Part:
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
