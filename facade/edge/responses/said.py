"""What was said in a thread as items. Their ids hold the entry's number in its thread, so that an id alone finds it."""

import base64
import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, assert_never

from facade.domain.records import Said
from threadmesh.conversation import Media, Message, Part, Reasoning, Refusal, Role, Text, ToolCall

_ID = re.compile(r"(rs|msg|fc|fco)_([0-9a-f]{32})_(0|[1-9][0-9]{0,17})(?:_([0-9a-f]{8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an item stands: in an entry of a thread, of which it is a part."""

    kind: str
    entry_id: str
    sequence: int
    call: str = ""


def read_item_id(item: str) -> Place | None:
    """Read where an item stands; None for what is no id of an item of a thread."""
    found = _ID.fullmatch(item)
    if found is None:
        return None
    return Place(kind=found[1], entry_id=f"item_{found[2]}", sequence=int(found[3]), call=found[4] or "")


def without(message: Message, place: Place) -> Message | None:
    """Give what remains of a message without one of its items; None if nothing does."""
    thoughts = tuple(part for part in message.parts if isinstance(part, Reasoning))
    match place.kind:
        case "rs":
            rest = replace(message, parts=tuple(part for part in message.parts if not isinstance(part, Reasoning)))
        case "msg":
            rest = replace(message, parts=thoughts)
        case "fc":
            rest = replace(message, tool_calls=tuple(c for c in message.tool_calls if _mark(c) != place.call))
        case _:
            return None
    return rest if rest.parts or rest.tool_calls else None


def _mark(call: ToolCall) -> str:
    """Tell the calls of a message apart, whichever of them are deleted."""
    return hashlib.sha256(call.id.encode()).hexdigest()[:8]


def items_of(said: Said) -> Iterator[dict[str, Any]]:
    """Give the items that an entry of a thread is: thinking, a message, the calls in it; or a call's output."""
    message, name = said.message, f"{said.id.removeprefix('item_')}_{said.sequence}"
    status = "incomplete" if said.incomplete else "completed"
    if message.role is Role.TOOL:
        output = "\n".join(part.text for part in message.parts if isinstance(part, Text))
        yield _item("function_call_output", f"fco_{name}", status, call_id=message.tool_call_id, output=output)
        return
    thoughts = [{"type": "reasoning_text", "text": each.text} for each in message.parts if isinstance(each, Reasoning)]
    if thoughts:
        yield _item("reasoning", f"rs_{name}", status, summary=[], content=thoughts)
    content = [_part(part, message.role) for part in message.parts if not isinstance(part, Reasoning)]
    if content:
        yield _item("message", f"msg_{name}", status, role=message.role.value, content=content)
    for call in message.tool_calls:
        told = {"call_id": call.id, "name": call.name, "arguments": call.arguments_json}
        yield _item("function_call", f"fc_{name}_{_mark(call)}", status, **told)


def message_item(said: Message) -> dict[str, Any]:
    """Give a message that stands in no thread as an item."""
    content = [_part(part, said.role) for part in said.parts if not isinstance(part, Reasoning)]
    return _item("message", f"msg_{uuid.uuid4().hex}", "completed", role=said.role.value, content=content)


def _item(kind: str, name: str, status: str, /, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "status": status, **fields}


def _part(part: Part, role: Role) -> dict[str, Any]:
    match part:
        case Text(text=text) if role is Role.ASSISTANT:
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        case Text(text=text) | Reasoning(text=text):
            return {"type": "input_text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Media(mime_type=kind, data=data) if kind.startswith("audio/"):
            sound = {"data": base64.b64encode(data).decode(), "format": kind.removeprefix("audio/")}
            return {"type": "input_audio", "input_audio": sound}
        case Media(mime_type=kind, data=data):
            url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
            return {"type": "input_image", "image_url": url, "detail": "auto", "file_id": None}
        case other:
            assert_never(other)
