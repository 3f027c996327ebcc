"""What is answered about texts and their tokens, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from facade.edge.answers.common import Usage, example

_USAGE = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}


class TextChoice(BaseModel):
    """A continuation."""

    model_config = ConfigDict(extra="allow")
    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: dict[str, Any] | None


class TextCompletion(BaseModel):
    """Continuations of texts; with `stream`, chunks of them as server-sent events."""

    model_config = example(
        {
            "id": "cmpl-01",
            "object": "text_completion",
            "created": 1767225600,
            "model": "small",
            "choices": [{"index": 0, "text": " there", "finish_reason": "length", "logprobs": None}],
            "usage": _USAGE,
        }
    )
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Tokens(BaseModel):
    """What a model reads, in its tokens."""

    model_config = example({"count": 2, "max_model_len": 8192, "tokens": [19556, 17], "token_strs": ["Hello", "!"]})
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class TextOfTokens(BaseModel):
    """The text that tokens are."""

    model_config = example({"prompt": "Hello!"})
    prompt: str


class InputTokens(BaseModel):
    """How many tokens a model would read for a response."""

    model_config = example({"object": "response.input_tokens", "input_tokens": 12})
    object: Literal["response.input_tokens"]
    input_tokens: int


class Compaction(BaseModel):
    """A conversation in short, as the input of the next request."""

    model_config = example(
        {
            "id": "resp_01",
            "object": "response.compaction",
            "created_at": 1767225600,
            "output": [{"id": "cmp_01", "type": "compaction", "encrypted_content": "c2hvcnQ="}],
            "usage": {"input_tokens": 90, "output_tokens": 30, "total_tokens": 120},
        }
    )
    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[dict[str, Any]]
    usage: dict[str, Any]
