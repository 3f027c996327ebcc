"""Messages in pieces, and tools for templates that know none.

Such tools are described in the system message, called and answered in marked text. The form is that of Hermes and Qwen,
which models without tool training have most likely seen.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from threadmesh.conversation import Media, Message, Refusal, Role, Text, ToolDefinition
from threadmesh.errors import InvalidArgument

_INSTRUCTIONS = """\
# Tools

You may call these tools. They are described by JSON between <tools> and </tools>:
<tools>
"""
_HOW = """\
</tools>

To call a tool, answer with its name and arguments as JSON between <tool_call> and </tool_call>:
<tool_call>
{"name": "tool name", "arguments": {"argument": "value"}}
</tool_call>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a message; only what the `template` wrote may hold control tokens."""

    text: str
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPiece:
    """An image or a sound between the texts of a message; `field` is its path in the request."""

    media: Media
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMessage:
    """A message that any template can render."""

    role: Role
    pieces: tuple[Piece | MediaPiece, ...]


def named(messages: tuple[Message, ...]) -> Iterator[Message]:
    """Give the messages, each tool's result with the name of the call that it answers unless it has one."""
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role is Role.TOOL and not message.name:
            message = replace(message, name=names.get(message.tool_call_id, ""))  # noqa: PLW2901  # the same, named
        yield message


def pieces_of(message: Message, *, index: int) -> tuple[Piece | MediaPiece, ...]:
    """Give a message's texts and media in reading order, without thinking; texts in a row are one piece."""
    pieces: list[Piece | MediaPiece] = []
    for place, part in enumerate(message.parts):
        match part:
            case Media():
                pieces.append(MediaPiece(media=part, field=f"messages[{index}].parts[{place}]"))
            case Text(text=text) | Refusal(text=text) if text:
                if pieces and isinstance(before := pieces[-1], Piece):
                    pieces[-1] = Piece(text=before.text + text)
                else:
                    pieces.append(Piece(text=text))
    return tuple(pieces)


def function_of(tool: ToolDefinition, *, field: str) -> dict[str, Any]:
    """Give a tool as models know it. Raises `InvalidArgument` if its parameters are not a JSON object."""
    try:
        parameters = json.loads(tool.parameters_json or '{"type": "object", "properties": {}}')
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise InvalidArgument("The parameters of a tool are a JSON object.", field=field)
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def without_tool_roles(messages: tuple[Message, ...], tools: tuple[ToolDefinition, ...]) -> list[PlainMessage]:
    """Give the conversation with tools, calls and results as text, results in the user's turn."""
    plain = [_plain(message, index) for index, message in enumerate(messages)]
    plain = _joined(plain, messages)
    return _described(plain, tools) if tools else plain


def _plain(message: Message, index: int) -> PlainMessage:
    said = pieces_of(message, index=index)
    if message.role is Role.TOOL:
        result = (_mark("<tool_response>\n"), *said, _mark("\n</tool_response>"))
        return PlainMessage(role=Role.USER, pieces=result)
    pieces = list(said)
    for call in message.tool_calls:
        written = f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments_json or "{}"}}}'
        before = _mark("\n<tool_call>\n" if pieces else "<tool_call>\n")
        pieces += [before, Piece(text=written), _mark("\n</tool_call>")]
    return PlainMessage(role=message.role, pieces=tuple(pieces))


def _joined(plain: list[PlainMessage], messages: tuple[Message, ...]) -> list[PlainMessage]:
    """Put the results of parallel calls into one turn; many templates insist that turns alternate."""
    joined: list[PlainMessage] = []
    before: Role | None = None
    for each, message in zip(plain, messages, strict=True):
        both = message.role is Role.TOOL and before is Role.TOOL
        begun = (*joined.pop().pieces, _mark("\n")) if both else ()
        joined.append(PlainMessage(role=each.role, pieces=(*begun, *each.pieces)))
        before = message.role
    return joined


def _described(plain: list[PlainMessage], tools: tuple[ToolDefinition, ...]) -> list[PlainMessage]:
    pieces = [_mark(_INSTRUCTIONS)]
    for index, tool in enumerate(tools):
        function = function_of(tool, field=f"tools[{index}].parameters_json")
        pieces += [Piece(text=json.dumps({"type": "function", "function": function}, ensure_ascii=False)), _mark("\n")]
    pieces.append(_mark(_HOW))
    if plain and plain[0].role in (Role.SYSTEM, Role.DEVELOPER):
        first = PlainMessage(role=Role.SYSTEM, pieces=(*plain[0].pieces, _mark("\n\n"), *pieces))
        return [first, *plain[1:]]
    return [PlainMessage(role=Role.SYSTEM, pieces=tuple(pieces)), *plain]


def _mark(text: str) -> Piece:
    return Piece(text=text, template=True)
