"""Runs and their tool calls."""

from typing import Literal

from pydantic import BaseModel

from facade.edge.answers.common import example


class RunAnswer(BaseModel):
    """A run: how far it is, and what went wrong if something did."""

    model_config = example(
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

    model_config = example({"object": "list", "data": [], "has_more": False, "after": None})
    object: Literal["list"]
    data: list[RunAnswer]
    has_more: bool
    after: str | None


class CallAnswer(BaseModel):
    """A tool call: how far it is, what persons have said about it, and how it ended."""

    model_config = example(
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

    model_config = example({"object": "list", "data": []})
    object: Literal["list"]
    data: list[CallAnswer]
