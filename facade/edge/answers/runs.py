"""Runs and their tool calls."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from facade.edge.answers.common import example


class QuestionAnswer(BaseModel):
    """A form that a tool's server wants a person to fill in."""

    id: str
    message: str
    schema_: dict[str, Any] = Field(alias="schema")


class InputRequiredAnswer(BaseModel):
    """What the server of a call asks, for the how-manieth time."""

    server: str
    round: int
    questions: list[QuestionAnswer]


class CallAnswer(BaseModel):
    """A tool call: how far it is, what persons have said about it, and how it ended."""

    model_config = example(
        {
            "id": "call_01",
            "object": "threadmesh.call",
            "name": "shop__buy",
            "arguments": '{"id":1}',
            "status": "awaiting_approval",
            "input_required": None,
            "outcome": None,
        }
    )
    id: str
    object: Literal["threadmesh.call"]
    name: str
    arguments: str
    status: str
    input_required: InputRequiredAnswer | None
    outcome: str | None


class RequiredAction(BaseModel):
    """What persons are asked: the calls to approve or deny, and those whose servers want an answer."""

    type: Literal["calls"]
    calls: list[CallAnswer]


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
            "required_action": None,
            "error": None,
        }
    )
    id: str
    object: Literal["threadmesh.run"]
    thread_id: str
    status: Literal["queued", "running", "requires_action", "succeeded", "failed", "cancelled"]
    created_at: int
    cancel_requested: bool
    required_action: RequiredAction | None
    error: dict[str, str] | None


class RunPage(BaseModel):
    """Runs, the latest first."""

    model_config = example({"object": "list", "data": [], "has_more": False, "after": None})
    object: Literal["list"]
    data: list[RunAnswer]
    has_more: bool
    after: str | None


class CallList(BaseModel):
    """The tool calls of a run, in the order in which the model asked for them."""

    model_config = example({"object": "list", "data": []})
    object: Literal["list"]
    data: list[CallAnswer]
