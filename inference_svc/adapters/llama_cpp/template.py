"""A conversation as a model's chat template renders it, with content that can never become control tokens.

The template sees an unguessable placeholder for every text that somebody else wrote. What comes out is split at the
placeholders: only what the template itself wrote is tokenised with control tokens.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2
import jinja2.meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference_svc.adapters.llama_cpp import tool_prompt
from inference_svc.adapters.llama_cpp.model import ModelFileError
from inference_svc.domain.pattern_grammar import json_text
from inference_svc.domain.prompt import Conversation
from threadmesh.conversation import Media, Message, Reasoning, Role, ToolDefinition
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

_THINKING_SWITCHES = frozenset({"enable_thinking", "thinking"})
"""What Qwen's templates and DeepSeek's ask."""
_LARGEST_REPEAT = 100_000
_LARGEST_RENDERING = 8 * 1024 * 1024
_HARMLESS = re.compile(r"[\w .,:;/()'+-]{0,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a prompt; only what the `template` wrote may hold control tokens."""

    text: str
    template: bool


@dataclass(eq=False)
class Vault:
    """Keeps the texts of one rendering behind placeholders of digits, which no filter of a template changes."""

    nonce: str = field(default_factory=lambda: str(secrets.randbelow(10**18)).zfill(18))
    texts: list[str] = field(default_factory=list)

    def hide(self, text: str) -> str:
        """Give the placeholder of a text; an empty text stays empty, because templates ask whether there is one."""
        if not text:
            return ""
        self.texts.append(text)
        return f"@{self.nonce}.{len(self.texts) - 1}@"

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

    def open(self, rendered: str) -> list[Segment]:
        """Split a rendering into what the template wrote and what was hidden."""
        segments = []
        for place, part in enumerate(re.split(rf"@{self.nonce}\.(\d+j?)@", rendered)):
            if place % 2 == 0:
                segments.append(Segment(text=part, template=True))
            else:
                text = self.texts[int(part.removesuffix("j"))]
                segments.append(Segment(text=json_text(text) if part.endswith("j") else text, template=False))
        if any(f"@{self.nonce[:4]}" in segment.text for segment in segments if segment.template):
            raise InvalidArgument("The model's chat template cuts messages short and cannot be used with this one.")
        return [segment for segment in segments if segment.text]


class ChatTemplate:
    """Renders conversations; safe to use from several threads."""

    def __init__(self, source: str, *, begin_text: str = "", end_text: str = "") -> None:
        """Compile a template. Raises `ModelFileError` if it is not valid."""
        self.source = source or CHATML
        environment = _environment()
        try:
            self._template = environment.from_string(self.source)
            names = jinja2.meta.find_undeclared_variables(environment.parse(self.source))
        except jinja2.TemplateError as error:
            raise ModelFileError(f"The model's chat template is not valid: {error}.") from error
        self.knows_tools = "tools" in names
        self._names = names
        self._knows_reasoning = "reasoning_content" in self.source
        self._begin, self._end = begin_text, end_text

    def render(self, conversation: Conversation, *, ask: bool) -> list[Segment]:
        """Give the prompt's segments, ending where the assistant begins to speak if `ask`.

        Raises `InvalidArgument` for what the template or the model cannot take.
        """
        vault = Vault()
        values = self._values(conversation, vault)
        values |= {"add_generation_prompt": ask, "bos_token": self._begin, "eos_token": self._end, "vault": vault}
        values |= self._switches(conversation, vault)
        try:
            return vault.open(_limited(self._template, values))
        except MeshError:
            raise
        except Exception as error:  # a template can raise anything
            raise InvalidArgument(f"The model's chat template refuses this: {error}.", field="messages") from error

    def _values(self, conversation: Conversation, vault: Vault) -> dict[str, Any]:
        tools = [_tool(tool, index, vault) for index, tool in enumerate(conversation.tools)]
        _require_text(conversation.messages)
        if self.knows_tools:
            return {"messages": [self._message(each, vault) for each in conversation.messages], "tools": tools or None}
        messages = tool_prompt.without_tool_roles(conversation.messages, conversation.tools)
        return {"messages": [_plain(each, vault) for each in messages]}

    def _message(self, message: Message, vault: Vault) -> dict[str, Any]:
        """Give a message; one with thinking tells it to the templates that ask for it."""
        value = _message(message, vault)
        thought = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
        return {**value, "reasoning_content": vault.hide(thought)} if thought and self._knows_reasoning else value

    def _switches(self, conversation: Conversation, vault: Vault) -> dict[str, Any]:
        """Give what the template asks about thinking and the request says."""
        values: dict[str, Any] = {}
        if conversation.thinking is not None:
            values |= dict.fromkeys(_THINKING_SWITCHES & self._names, conversation.thinking)
        if conversation.reasoning_effort and "reasoning_effort" in self._names:
            values["reasoning_effort"] = vault.hide_within(conversation.reasoning_effort)
        return values


def _require_text(messages: tuple[Message, ...]) -> None:
    for index, message in enumerate(messages):
        for place, part in enumerate(message.parts):
            if isinstance(part, Media):
                raise InvalidArgument("This model reads text only.", field=f"messages[{index}].parts[{place}]")


def _role(role: Role) -> str:
    return "system" if role is Role.DEVELOPER else role.value


def _plain(message: tool_prompt.PlainMessage, vault: Vault) -> dict[str, Any]:
    pieces = (piece.text if piece.template else vault.hide(piece.text) for piece in message.pieces)
    return {"role": _role(message.role), "content": "".join(pieces)}


def _message(message: Message, vault: Vault) -> dict[str, Any]:
    value: dict[str, Any] = {"role": _role(message.role), "content": vault.hide(message.text)}
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


def _limited(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    parts = []
    size = 0
    for part in template.generate(values):
        size += len(part)
        if size > _LARGEST_RENDERING:
            raise InvalidArgument("The conversation is too long to be rendered.", field="messages")
        parts.append(part)
    return "".join(parts)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and no expression that makes a short text huge."""

    intercepted_binops = frozenset({"*", "**", "%"})
    _padding = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        numbers = [side for side in (left, right) if isinstance(side, int | float)]
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"{operator} is not offered")
        if operator == "*" and sizes and max(numbers, default=0) * max(sizes) > _LARGEST_REPEAT:
            raise SecurityError("the repetition is too long")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in self._padding and super().is_safe_attribute(obj, attr, value)


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in ("center", "format", "indent", "pprint", "xmlattr", "urlize"):
        environment.filters.pop(name)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


@jinja2.pass_context
def _to_json(context: jinja2.runtime.Context, value: Any, indent: int | None = None, **_: Any) -> str:
    vault: Vault = context["vault"]
    return vault.to_json(value, None if indent is None else min(indent, 8))


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
