"""What a request asks of a model. Values only."""

from dataclasses import dataclass, field
from enum import IntEnum

from threadmesh.conversation import Message, ToolChoice, ToolDefinition
from threadmesh.sampling import Sampling


class Priority(IntEnum):
    """Who goes first when the engine is busy; the lowest number does."""

    VOICE = 0
    INTERACTIVE = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonObject:
    """The answer is any JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """The answer is JSON that conforms to a schema; if `lenient`, to what of it can be guaranteed."""

    schema_json: str
    name: str = ""
    lenient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """The answer follows a GBNF grammar with a `root` rule."""

    gbnf: str


ResponseFormat = JsonObject | JsonSchema | Grammar


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a model reads: the messages, oldest first, and the tools that are described to it.

    `thinking` tells a model that leaves it open to think or not to, `reasoning_effort` how much; None and empty are its
    own default.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    thinking: bool | None = None
    reasoning_effort: str = ""


RawPrompt = str | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request for a continuation.

    `model` is a configured name, empty for the default one. `max_tokens` is None to go on to the end of the context,
    A `raw` prompt, a text or tokens, takes the place of the conversation and is read without the model's template.
    `logprobs` is None or the number of alternatives to report at each place. `emitted_token_ids` were said by another
    server already: they are taken as drawn, and not sent again unless `repeat_emitted`. KV caches are shared within one
    `cache_scope` only, and an engine is shared fairly among callers; what has no `caller` is the server's own. What the
    answer will be like may be known as a `prediction`.
    """

    conversation: Conversation
    raw: RawPrompt | None = None
    model: str = ""
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    emitted_token_ids: tuple[int, ...] = ()
    repeat_emitted: bool = False
    priority: Priority = Priority.INTERACTIVE
    cache_scope: str = ""
    caller: str = ""
    adapter: str = ""
    prediction: str = ""
