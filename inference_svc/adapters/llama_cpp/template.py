"""A conversation as a model's chat template renders it, with content that can never become control tokens.

The template sees an unguessable placeholder for every text that somebody else wrote. What comes out is split at the
placeholders: only what the template itself wrote is tokenised with control tokens.
"""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import jinja2
import jinja2.meta

from inference_svc.adapters.llama_cpp import tool_prompt
from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.adapters.llama_cpp.template_sandbox import rendered, sandbox
from inference_svc.adapters.llama_cpp.tool_prompt import MediaPiece, Piece
from inference_svc.domain.pattern_grammar import json_text
from inference_svc.domain.prompt import Conversation
from threadmesh.conversation import Message, Reasoning, Role, ToolDefinition
from threadmesh.errors import InvalidArgument, MeshError

CHATML = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""The template of models that bring none."""

_PROBE = "@probe@"
_FORM = re.compile(r"""['"]type['"]: ['"]text['"]""")
_THINKING_SWITCHES = frozenset({"enable_thinking", "thinking"})
"""What Qwen's templates and DeepSeek's ask."""
_STRONGEST = ("max", "xhigh", "high")
"""Efforts that few templates know all of, the strongest first."""
_HARMLESS = re.compile(r"[\w .,:;/()'+-]{0,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a prompt; only what the `template` wrote may hold control tokens."""

    text: str
    template: bool


@dataclass(eq=False)
class Vault:
    """Keeps texts and media of one rendering behind placeholders of digits, which no filter of a template changes."""

    nonce: str = field(default_factory=lambda: str(secrets.randbelow(10**18)).zfill(18))
    hidden: list[str | MediaPiece] = field(default_factory=list)

    def hide(self, text: str) -> str:
        """Give the placeholder of a text; an empty text stays empty, because templates ask whether there is one."""
        return self._placeholder(text) if text else ""

    def hide_piece(self, piece: Piece | MediaPiece) -> str:
        """Give the placeholder of a piece of a message, or what the template itself wrote."""
        if isinstance(piece, MediaPiece):
            return self._placeholder(piece)
        return piece.text if piece.template else self.hide(piece.text)

    def _placeholder(self, hidden: str | MediaPiece) -> str:
        self.hidden.append(hidden)
        return f"@{self.nonce}.{len(self.hidden) - 1}@"

    def hide_within(self, value: Any) -> Any:
        """Give a JSON value with its texts hidden, except plain words: templates ask for those of schemas."""
        if isinstance(value, str):
            return value if _HARMLESS.fullmatch(value) else self.hide(value)
        if isinstance(value, dict):
            return {self.hide_within(key): self.hide_within(each) for key, each in value.items()}
        return [self.hide_within(each) for each in value] if isinstance(value, list) else value

    def to_json(self, value: Any, indent: int | None) -> str:
        """Write a value as JSON and mark its placeholders as standing inside JSON strings."""
        written = json.dumps(value, ensure_ascii=False, indent=indent)
        return re.sub(rf"@{self.nonce}\.(\d+)@", rf"@{self.nonce}.\1j@", written)

    def open(self, rendered: str) -> list[Segment | MediaPiece]:
        """Split a rendering into what the template wrote and what was hidden."""
        parts = re.split(rf"@{self.nonce}\.(\d+j?)@", rendered)
        if any(f"@{self.nonce[:4]}" in written for written in parts[::2]):
            raise InvalidArgument("The model's chat template cuts messages short and cannot be used with this one.")
        found = [self._reveal(part) if place % 2 else _written(part) for place, part in enumerate(parts)]
        for lost in (each for each in self.hidden if isinstance(each, MediaPiece) and each not in found):
            raise InvalidArgument(
                "The model's chat template has no place for an image or sound here.", field=lost.field
            )
        return [each for each in found if isinstance(each, MediaPiece) or each.text]

    def _reveal(self, number: str) -> Segment | MediaPiece:
        hidden = self.hidden[int(number.removesuffix("j"))]
        if isinstance(hidden, MediaPiece):
            return hidden
        return Segment(text=json_text(hidden) if number.endswith("j") else hidden, template=False)


def _written(text: str) -> Segment:
    return Segment(text=text, template=True)


class ChatTemplate:
    """Renders conversations; safe to use from several threads."""

    def __init__(self, source: str, *, begin_text: str = "", end_text: str = "") -> None:
        """Compile a template. Raises `ModelFileError` if it is not valid."""
        self.source = source or CHATML
        environment = sandbox()
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(self.source)
            names = jinja2.meta.find_undeclared_variables(environment.parse(self.source))
        except (jinja2.TemplateError, SyntaxError, RecursionError, ValueError) as error:
            raise ModelFileError(f"The model's chat template is not valid: {error}.") from error
        self.knows_tools = "tools" in names
        self._names = names
        self._knows_reasoning = "reasoning_content" in self.source
        self._begin, self._end = begin_text, end_text
        self._wants_parts = not self._shows(_PROBE) and self._shows(_in_parts(_PROBE))

    def _shows(self, content: Any) -> bool:
        """Whether the text of a content of this form comes out, and not the form itself."""
        values = {"messages": [{"role": "user", "content": content}], "add_generation_prompt": False, "vault": Vault()}
        try:
            shown = rendered(self._template, values | {"bos_token": self._begin, "eos_token": self._end})
        except Exception:  # noqa: BLE001  # a template can raise anything
            return False
        return _PROBE in shown and not _FORM.search(shown)

    def render(self, conversation: Conversation, *, ask: bool) -> list[Segment | MediaPiece]:
        """Give the prompt's segments with the media between them, ending where the assistant begins to speak if `ask`.

        Raises `InvalidArgument` for what the template or the model cannot take.
        """
        vault = Vault()
        values = self._values(conversation, vault)
        values |= {"add_generation_prompt": ask, "bos_token": self._begin, "eos_token": self._end, "vault": vault}
        values |= self._switches(conversation, vault)
        try:
            return vault.open(rendered(self._template, values))
        except MeshError:
            raise
        except Exception as error:  # a template can raise anything
            raise InvalidArgument(f"The model's chat template refuses this: {error}.", field="messages") from error

    def _values(self, conversation: Conversation, vault: Vault) -> dict[str, Any]:
        tools = [_tool(tool, index, vault) for index, tool in enumerate(conversation.tools)]
        if self.knows_tools:
            told = tool_prompt.named(conversation.messages)
            messages = [self._message(each, index, vault) for index, each in enumerate(told)]
        else:
            plain = tool_prompt.without_tool_roles(conversation.messages, conversation.tools)
            messages = [_plain(each, vault) for each in plain]
        if self._wants_parts:
            messages = [{**each, "content": _in_parts(each["content"])} for each in messages]
        return {"messages": messages, "tools": tools or None} if self.knows_tools else {"messages": messages}

    def _message(self, message: Message, index: int, vault: Vault) -> dict[str, Any]:
        """Give a message; one with thinking tells it to the templates that ask for it."""
        value = _message(message, index, vault)
        thought = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
        return {**value, "reasoning_content": vault.hide(thought)} if thought and self._knows_reasoning else value

    def _switches(self, conversation: Conversation, vault: Vault) -> dict[str, Any]:
        """Give what the template asks about thinking and the request says."""
        values: dict[str, Any] = {}
        if conversation.thinking is not None:
            values |= dict.fromkeys(_THINKING_SWITCHES & self._names, conversation.thinking)
        if conversation.reasoning_effort and "reasoning_effort" in self._names:
            values["reasoning_effort"] = vault.hide_within(self._known(conversation.reasoning_effort))
        return values

    def _known(self, effort: str) -> str:
        """Give the effort; of the strongest ones, the first from it on that the template names, or `high`."""
        weaker = _STRONGEST[_STRONGEST.index(effort) :] if effort in _STRONGEST else (effort,)
        return next((each for each in weaker if re.search(f"""['"]{each}['"]""", self.source)), weaker[-1])


def _in_parts(content: str) -> list[dict[str, str]]:
    """Give a content as templates of models with media like it; our placeholders are text to them."""
    return [{"type": "text", "text": content}] if content else []


def _role(role: Role) -> str:
    return "system" if role is Role.DEVELOPER else role.value


def _plain(message: tool_prompt.PlainMessage, vault: Vault) -> dict[str, Any]:
    return {"role": _role(message.role), "content": "".join(map(vault.hide_piece, message.pieces))}


def _message(message: Message, index: int, vault: Vault) -> dict[str, Any]:
    pieces = tool_prompt.pieces_of(message, index=index)
    value: dict[str, Any] = {"role": _role(message.role), "content": "".join(map(vault.hide_piece, pieces))}
    if message.name:
        value["name"] = vault.hide_within(message.name)
    if message.tool_call_id:
        value["tool_call_id"] = vault.hide_within(message.tool_call_id)
    if message.tool_calls:
        value["tool_calls"] = [
            {
                "id": vault.hide_within(call.id),
                "type": "function",
                "function": {"name": vault.hide_within(call.name), "arguments": _arguments(call.arguments_json, vault)},
            }
            for call in message.tool_calls
        ]
    return value


def _arguments(arguments_json: str, vault: Vault) -> Any:
    try:
        value = json.loads(arguments_json or "{}")
    except (ValueError, RecursionError):
        return vault.hide(arguments_json)
    return vault.hide_within(value) if isinstance(value, dict) else vault.hide(arguments_json)


def _tool(tool: ToolDefinition, index: int, vault: Vault) -> dict[str, Any]:
    function = tool_prompt.function_of(tool, field=f"tools[{index}].parameters_json")
    return {"type": "function", "function": vault.hide_within(function)}


@jinja2.pass_context
def _to_json(context: jinja2.runtime.Context, value: Any, indent: int | None = None, **_: Any) -> str:
    vault: Vault = context["vault"]
    return vault.to_json(value, None if indent is None else min(indent, 8))
