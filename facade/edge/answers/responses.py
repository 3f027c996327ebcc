"""Responses."""

from typing import Any, Literal

from pydantic import BaseModel

from facade.edge.answers.common import example


class ResponseAnswer(BaseModel):
    """A response, ended or under way; with `stream`, its events as server-sent events."""

    model_config = example(
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
