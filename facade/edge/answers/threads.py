"""Threads, what models read of them, and what is kept."""

from typing import Any, Literal

from pydantic import BaseModel

from facade.edge.answers.common import Usage, example

_THREAD = {
    "id": "thread_01",
    "object": "threadmesh.thread",
    "key": "discord:1:2",
    "conversation": "conv_01",
    "created_at": 1767225600,
    "updated_at": 1767229200,
    "metadata": {"topic": "weather"},
    "item_count": 12,
    "active_run": None,
    "pinned": [0],
    "summary": None,
}


class ThreadAnswer(BaseModel):
    """A thread: its key and what describes it, the run that writes to it, and the numbers of pinned items."""

    model_config = example(_THREAD)
    id: str
    object: Literal["threadmesh.thread"]
    key: str | None
    conversation: str
    created_at: int
    updated_at: int
    metadata: dict[str, str]
    item_count: int
    active_run: str | None
    pinned: list[int]
    summary: int | None


class ThreadPage(BaseModel):
    """Threads by their use."""

    model_config = example({"object": "list", "data": [_THREAD], "has_more": False, "after": None})
    object: Literal["list"]
    data: list[ThreadAnswer]
    has_more: bool
    after: str | None


class WindowAnswer(BaseModel):
    """What a model would read of a thread, as messages of a chat completion, and what had no room."""

    model_config = example(
        {
            "object": "threadmesh.window",
            "thread_id": "thread_01",
            "model": "small",
            "token_budget": 6144,
            "tokens": 9,
            "least_tokens": 0,
            "omitted_items": 0,
            "summary": None,
            "messages": [{"role": "user", "content": "Hello!"}],
        }
    )
    object: Literal["threadmesh.window"]
    thread_id: str
    model: str | None
    token_budget: int
    tokens: int
    least_tokens: int
    omitted_items: int
    summary: int | None
    messages: list[dict[str, Any]]


class WarmedAnswer(BaseModel):
    """How many tokens a model has read ahead, and how many of them it knew."""

    model_config = example(
        {
            "object": "threadmesh.warmed",
            "thread_id": "thread_01",
            "model": "small",
            "tokens": 420,
            "cached_tokens": 400,
            "omitted_items": 0,
        }
    )
    object: Literal["threadmesh.warmed"]
    thread_id: str
    model: str
    tokens: int
    cached_tokens: int
    omitted_items: int


class Covered(BaseModel):
    """Numbers of items, from the first to the last."""

    first: int
    last: int


class SummaryAnswer(BaseModel):
    """A summary that was added to a thread, and the items that it stands for."""

    model_config = example(
        {
            "object": "threadmesh.summary",
            "thread_id": "thread_01",
            "number": 12,
            "covers": {"first": 1, "last": 9},
            "text": "Ann asked about the weather.",
            "usage": {"prompt_tokens": 300, "completion_tokens": 8, "total_tokens": 308},
        }
    )
    object: Literal["threadmesh.summary"]
    thread_id: str
    number: int
    covers: Covered
    text: str
    usage: Usage


class RetentionAnswer(BaseModel):
    """The operator's rule for a thread; what is null limits nothing."""

    model_config = example(
        {
            "object": "threadmesh.retention",
            "thread_id": "thread_01",
            "pattern": "discord:*",
            "max_age_seconds": 2592000,
            "max_idle_seconds": None,
            "max_items": 2000,
            "max_tokens": None,
            "only_summarized": False,
        }
    )
    object: Literal["threadmesh.retention"]
    thread_id: str
    pattern: str | None
    max_age_seconds: int | None
    max_idle_seconds: int | None
    max_items: int | None
    max_tokens: int | None
    only_summarized: bool


class PrunedAnswer(BaseModel):
    """How many items went."""

    model_config = example({"object": "threadmesh.pruned", "thread_id": "thread_01", "items": 10, "dry_run": False})
    object: Literal["threadmesh.pruned"]
    thread_id: str
    items: int
    dry_run: bool
