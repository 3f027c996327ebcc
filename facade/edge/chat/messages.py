"""Messages of threads in the words of chat completions."""

import base64
from typing import Any

from threadmesh.conversation import Media, Message, Part, Refusal, Text


def message_body(message: Message) -> dict[str, Any]:
    """Give a message as a request for a chat completion would say it; what is more than text stands in parts, too."""
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    parts = [part for part in message.parts if isinstance(part, Text | Media)]
    refusals = [part.text for part in message.parts if isinstance(part, Refusal)]
    told: dict[str, Any] = {
        "role": message.role.value,
        "content": "".join(texts) if texts or not message.tool_calls else None,
        "refusal": "".join(refusals) or None,
        "name": message.name or None,
        "content_parts": [_part(part) for part in parts] if len(parts) > len(texts) or len(texts) > 1 else None,
    }
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in message.tool_calls
        ]
    return told


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Media):
        data = base64.b64encode(part.data).decode()
        if part.mime_type.startswith("audio/"):
            sound = {"data": data, "format": part.mime_type.removeprefix("audio/")}
            return {"type": "input_audio", "input_audio": sound}
        return {"type": "image_url", "image_url": {"url": f"data:{part.mime_type};base64,{data}"}}
    return {"type": "text", "text": part.text}
