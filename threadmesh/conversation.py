"""The values that every domain speaks: messages, tool calls, the pieces of a stream. Frozen; no I/O, no protobuf."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from threadmesh.errors import Code, MeshError


class Role(StrEnum):
    """Whose words a message holds."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The model's words on why it will not answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """The model's thinking before the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or a sound: its MIME type and its encoded bytes."""

    mime_type: str
    data: bytes


Part = Text | Refusal | Reasoning | Media


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's request to run one tool; `arguments_json` is a JSON object, byte for byte as the model wrote it."""

    id: str
    name: str
    arguments_json: str


def arguments_hash(arguments_json: str) -> str:
    """Give what identifies a call's arguments: SHA-256 over the text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(arguments_json.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of a conversation as a model sees it."""

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """The message's plain text and refusals, in reading order; thinking and media are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text | Refusal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a person was asked about a call: whether it may be made. `approved` is None where nobody has answered."""

    approved: bool | None = None
    reason: str = ""


def message(role: Role, text: str) -> Message:
    """Make a message of one text."""
    return Message(role=role, parts=(Text(text=text),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A tool that a model may call; `parameters_json` is a JSON Schema, empty for a tool without arguments."""

    name: str
    description: str = ""
    parameters_json: str = ""
    strict: bool = False


class ToolChoiceMode(StrEnum):
    """A general rule on tool calls."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """A rule on tool calls; a `name` forces a call of that tool and makes the mode REQUIRED."""

    mode: ToolChoiceMode = ToolChoiceMode.AUTO
    name: str = ""


class FinishReason(StrEnum):
    """Why a model stopped; the values are OpenAI's."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a generation consumed, in tokens; `cached_tokens` are those of the prompt found in the KV cache.

    Of an answer that was predicted, `accepted_prediction_tokens` are those of the prediction that the answer holds, and
    `rejected_prediction_tokens` the others.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            accepted_prediction_tokens=self.accepted_prediction_tokens + other.accepted_prediction_tokens,
            rejected_prediction_tokens=self.rejected_prediction_tokens + other.rejected_prediction_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """How likely a token was: its bytes, the natural logarithm of its probability, and the likeliest at this place."""

    token: bytes
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of text in whole code points, and the tokens drawn for it; `token_index` numbers the first, from 0."""

    text: str
    token_ids: tuple[int, ...] = ()
    token_index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of the model's thinking, numbered like a `TextDelta`."""

    text: str
    token_ids: tuple[int, ...] = ()
    token_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of the `index`-th tool call; `id` and `name` come with its first piece only."""

    index: int
    id: str = ""
    name: str = ""
    arguments_json: str = ""
    token_ids: tuple[int, ...] = ()
    token_index: int = 0


class CallOutcome(StrEnum):
    """How a tool call ended. UNKNOWN: it was sent and nobody can say whether it took effect."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something ended without its result: an error as a value."""

    reason: str
    code: Code
    message: str
    retryable: bool = False
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: MeshError) -> "Failure":
        """Turn an error into a value."""
        return cls(
            reason=error.reason,
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            facts=dict(error.facts),
        )

    def error(self) -> MeshError:
        """Turn the value into the error it stands for."""
        return MeshError.restore(
            reason=self.reason, code=self.code, message=self.message, retryable=self.retryable, facts=self.facts
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A tool call goes out: to which server, with which arguments, for the how-manieth time (from 1)."""

    name: str
    server: str
    arguments_json: str
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAwaiting:
    """A tool call waits for a person's approval, for so many `seconds`; the hash identifies the tool's definition.

    From the `last` of several such questions on the run waits.
    """

    name: str
    server: str
    arguments_json: str
    definition_hash: str
    seconds: float
    last: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgress:
    """How far a tool is, in its own unit. A snapshot, not an increment; `total` is None when the tool does not know."""

    progress: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished:
    """How a call of the tool `name` ended: what the model reads, the structured result if any, the `seconds` taken."""

    outcome: CallOutcome
    name: str = ""
    parts: tuple[Part, ...] = ()
    structured_json: str = ""
    failure: Failure | None = None
    seconds: float = 0.0
