"""Chat completions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from facade.edge.answers.common import Usage, example


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

    model_config = example(
        {
            "id": "chatcmpl-01",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "small",
            "service_tier": "default",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello!", "refusal": None},
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        }
    )
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    service_tier: Literal["default"]
    choices: list[Choice]
    usage: Usage
