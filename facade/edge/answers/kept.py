"""What is answered about what is kept, for the OpenAPI document: conversations, and stored chat completions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from facade.edge.answers.chat import Completion
from facade.edge.answers.common import example


class ConversationAnswer(BaseModel):
    """A conversation: a thread, with what describes it."""

    model_config = example(
        {"id": "conv_01", "object": "conversation", "created_at": 1767225600, "metadata": {"topic": "weather"}}
    )
    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class ItemAnswer(BaseModel):
    """Something that was said in a conversation, or called for."""

    model_config = example(
        {
            "id": "msg_01_0",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "Hello!"}],
        }
    )
    id: str
    type: Literal[
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
    ]
    status: Literal["in_progress", "completed", "incomplete", "failed"] | None = None


class CompletionPage(BaseModel):
    """Stored completions, by their age."""

    model_config = example({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    object: Literal["list"]
    data: list[Completion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoredMessage(BaseModel):
    """A message that a stored completion answers."""

    model_config = ConfigDict(extra="allow")
    id: str
    role: str
    content: Any


class MessagePage(BaseModel):
    """Messages that a stored completion answers."""

    model_config = example({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    object: Literal["list"]
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool
