"""Tools for templates that know none: described in the system message, called and answered in marked text.

The form is that of Hermes and Qwen, which models without tool training have most likely seen.
"""

import json
from dataclasses import dataclass
from typing import Any

from threadmesh.conversation import Message, Role, ToolDefinition
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
class PlainMessage:
    """A message that any template can render."""

    role: Role
    pieces: tuple[Piece, ...]


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
    plain = [_plain(message) for message in messages]
    plain = _joined(plain, messages)
    return _described(plain, tools) if tools else plain


def _plain(message: Message) -> PlainMessage:
    said = (Piece(text=message.text),) if message.text else ()
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
