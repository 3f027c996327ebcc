"""What was said in a thread as items."""

import base64
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, assert_never

from facade.domain.records import CallRecord, Said
from facade.edge.responses.mesh_calls import call_items
from facade.edge.responses.names import Place, entry_name, item_id, mark
from threadmesh.conversation import Media, Message, Part, Reasoning, Refusal, Role, Text


def without(message: Message, place: Place) -> Message | None:
    """Give what remains of a message without one of its items; None if nothing does."""
    thoughts = tuple(part for part in message.parts if isinstance(part, Reasoning))
    match place.kind:
        case "rs":
            rest = replace(message, parts=tuple(part for part in message.parts if not isinstance(part, Reasoning)))
        case "msg":
            rest = replace(message, parts=thoughts)
        case "fc" | "mcp":
            rest = replace(message, tool_calls=tuple(c for c in message.tool_calls if mark(c.id) != place.call))
        case _:
            return None
    return rest if rest.parts or rest.tool_calls else None


def items_of(said: Said, ran: Sequence[CallRecord] = ()) -> Iterator[dict[str, Any]]:
    """Give the items that an entry of a thread is: thinking, a message, the calls in it; or a call's output.

    Of its calls, the mesh `ran` these, or is about to.
    """
    message, entry = said.message, entry_name(said)
    status = "incomplete" if said.incomplete else "completed"
    if message.role is Role.TOOL:
        output = "\n".join(part.text for part in message.parts if isinstance(part, Text))
        name = item_id("fco", entry)
        yield _item("function_call_output", name, status, call_id=message.tool_call_id, output=output)
        return
    thoughts = [{"type": "reasoning_text", "text": each.text} for each in message.parts if isinstance(each, Reasoning)]
    if thoughts:
        yield _item("reasoning", item_id("rs", entry), status, summary=[], content=thoughts)
    content = [_part(part, message.role) for part in message.parts if not isinstance(part, Reasoning)]
    if content:
        name = item_id("msg", entry)
        yield _item("message", name, status, role=message.role.value, content=content)
    own = {record.call.id for record in ran}
    for call in message.tool_calls:
        if call.id not in own:
            told = {"call_id": call.id, "name": call.name, "arguments": call.arguments_json}
            yield _item("function_call", item_id("fc", entry, call.id), status, **told)
    yield from call_items(entry, ran)


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
