"""What the API answers, for its OpenAPI document. Answers are written elsewhere, from the logs of runs.

The tests hold every answer against these; fields that OpenAI has and that are empty here are left out.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


def _of(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="allow", json_schema_extra={"examples": [example]})


class ErrorBody(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")
    message: str
    type: Literal["invalid_request_error", "permission_error", "conflict_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """What every request is answered with that is not answered for; docs/errors.md lists the codes."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorBody


class Health(BaseModel):
    """How the facade is, and what of the mesh it needs."""

    model_config = _of({"status": "ok", "units": {"facade": "ok", "inference": "ok", "context": "ok"}})
    status: str


_TOKENS = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class Usage(BaseModel):
    """Tokens, read and written."""

    model_config = _of(_TOKENS)
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    """What the model said."""

    model_config = ConfigDict(extra="allow")
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] = []
    reasoning_content: str = ""


class Choice(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="allow")
    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    logprobs: dict[str, Any] | None


class Completion(BaseModel):
    """A chat completion; with `stream`, chunks of one as server-sent events."""

    model_config = _of(
        {
            "id": "chatcmpl-01",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "small",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello!", "refusal": None},
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": _TOKENS,
        }
    )
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ResponseAnswer(BaseModel):
    """A response, ended or under way; with `stream`, its events as server-sent events."""

    model_config = _of(
        {
            "id": "resp_01",
            "object": "response",
            "created_at": 1767225600,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": "small",
            "output": [
                {
                    "id": "msg_01_0",
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Hello!", "annotations": [], "logprobs": []}],
                }
            ],
            "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
        }
    )
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class ItemPage(BaseModel):
    """A page of items."""

    model_config = _of({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """What is gone."""

    model_config = _of({"id": "resp_01", "object": "response", "deleted": True})
    id: str
    object: str
    deleted: bool


class Embedding(BaseModel):
    """A text as a vector: numbers, or little-endian 32-bit floats in base64."""

    model_config = ConfigDict(extra="allow")
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(BaseModel):
    """A vector for each text, in their order."""

    model_config = _of(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
            "model": "vectors",
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
    )
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class ModelAnswer(BaseModel):
    """A model."""

    model_config = _of({"id": "small", "object": "model", "created": 1767225600, "owned_by": "threadmesh"})
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models by the names that requests may use."""

    model_config = _of({"object": "list", "data": []})
    object: Literal["list"]
    data: list[ModelAnswer]


class RunAnswer(BaseModel):
    """A run: how far it is, and what went wrong if something did."""

    model_config = _of(
        {
            "id": "run_01",
            "object": "threadmesh.run",
            "thread_id": "thread_01",
            "status": "requires_action",
            "created_at": 1767225600,
            "cancel_requested": False,
            "error": None,
        }
    )
    id: str
    object: Literal["threadmesh.run"]
    thread_id: str
    status: Literal["queued", "running", "requires_action", "succeeded", "failed", "cancelled"]
    created_at: int
    cancel_requested: bool
    error: dict[str, str] | None


class RunPage(BaseModel):
    """Runs, the latest first."""

    model_config = _of({"object": "list", "data": [], "has_more": False, "after": None})
    object: Literal["list"]
    data: list[RunAnswer]
    has_more: bool
    after: str | None


class CallAnswer(BaseModel):
    """A tool call: how far it is, what persons have said about it, and how it ended."""

    model_config = _of(
        {
            "id": "call_01",
            "object": "threadmesh.call",
            "name": "shop__buy",
            "arguments": '{"id":1}',
            "status": "awaiting_approval",
            "outcome": None,
        }
    )
    id: str
    object: Literal["threadmesh.call"]
    name: str
    arguments: str
    status: str
    outcome: str | None


class CallList(BaseModel):
    """The tool calls of a run, in the order in which the model asked for them."""

    model_config = _of({"object": "list", "data": []})
    object: Literal["list"]
    data: list[CallAnswer]


class Conversation(BaseModel):
    """A conversation."""

    model_config = _of({"id": "conv_01", "object": "conversation", "created_at": 1767225600, "metadata": {}})
    id: str
    object: str


class Item(BaseModel):
    """An item of a conversation."""

    model_config = _of({"id": "msg_01", "type": "message", "role": "user", "content": []})
    id: str
    type: str


class Page(BaseModel):
    """A page of a list."""

    model_config = _of({"object": "list", "data": [], "has_more": False})
    object: Literal["list"]
    data: list[dict[str, Any]]


class TextCompletion(BaseModel):
    """How texts go on; with `stream`, in pieces as server-sent events."""

    model_config = _of({"id": "cmpl-01", "object": "text_completion", "choices": [{"index": 0, "text": " time"}]})
    id: str
    object: str
    choices: list[dict[str, Any]]


class Tokens(BaseModel):
    """What a model reads, in its own tokens."""

    model_config = _of({"count": 2, "max_model_len": 8192, "tokens": [9, 7], "token_strs": None})
    count: int
    tokens: list[int]


class Detokenized(BaseModel):
    """The text of tokens."""

    model_config = _of({"prompt": "Hello"})
    prompt: str


class InputTokens(BaseModel):
    """How many tokens a model would read."""

    model_config = _of({"object": "response.input_tokens", "input_tokens": 9})
    object: str
    input_tokens: int


class Compaction(BaseModel):
    """A conversation in short."""

    model_config = _of({"id": "resp_01", "object": "response.compaction", "output": []})
    object: str
    output: list[dict[str, Any]]


def all_answers() -> list[type[BaseModel]]:
    """Give every model of this module."""
    return [each for each in BaseModel.__subclasses__() if each.__module__ == __name__]
