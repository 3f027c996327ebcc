"""What a model was told for a response, as pages of items."""

import base64
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from facade.domain.events import Run
from facade.domain.ports import Said
from facade.edge.responses.stored import Echo
from threadmesh.conversation import Media, Message, Part, Reasoning, Refusal, Role, Text
from threadmesh.errors import InvalidArgument

_MOST = 100


def input_page(run: Run, echo: Echo, said: Sequence[Said], *, limit: int, order: str, after: str) -> dict[str, Any]:
    """Give a page of the items; `after` is the last item of the page before. Raises `InvalidArgument`."""
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit must be between 1 and {_MOST}.", field="limit")
    if order not in ("asc", "desc"):
        raise InvalidArgument("order must be asc or desc.", field="order")
    items = [item for each in _told(run, echo, said) for item in _items(each)]
    if order == "desc":
        items.reverse()
    names = [item["id"] for item in items]
    if after and after not in names:
        raise InvalidArgument("after names no item of this list.", field="after")
    first = names.index(after) + 1 if after else 0
    page = items[first : first + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": first + limit < len(items),
    }


def _told(run: Run, echo: Echo, said: Sequence[Said]) -> Sequence[Said]:
    """Leave out what the run itself has said: of its entries, those behind its input."""
    own = next((place for place, each in enumerate(said) if each.run_id == run.id), len(said))
    return said[: own + echo.inputs]


def message_item(said: Message) -> dict[str, Any]:
    """Give a message that stands in no thread as an item."""
    content = [_part(part, said.role) for part in said.parts if not isinstance(part, Reasoning)]
    return _item("message", f"msg_{uuid.uuid4().hex}", role=said.role.value, content=content)


def _items(said: Said) -> Iterator[dict[str, Any]]:
    """Give the items that an entry of a thread is: thinking, a message, the calls in it; or a call's output."""
    message, name = said.message, said.id.removeprefix("item_")
    if message.role is Role.TOOL:
        output = "\n".join(part.text for part in message.parts if isinstance(part, Text))
        yield _item("function_call_output", f"fco_{name}", call_id=message.tool_call_id, output=output)
        return
    thoughts = [{"type": "reasoning_text", "text": each.text} for each in message.parts if isinstance(each, Reasoning)]
    if thoughts:
        yield _item("reasoning", f"rs_{name}", summary=[], content=thoughts)
    content = [_part(part, message.role) for part in message.parts if not isinstance(part, Reasoning)]
    if content:
        yield _item("message", f"msg_{name}", role=message.role.value, content=content)
    for index, call in enumerate(message.tool_calls):
        told = {"call_id": call.id, "name": call.name, "arguments": call.arguments_json}
        yield _item("function_call", f"fc_{name}_{index}", **told)


def _item(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "status": "completed", **fields}


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
