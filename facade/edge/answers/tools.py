"""The mesh's own tools."""

from typing import Any, Literal

from pydantic import BaseModel

from facade.edge.answers.common import example


class ToolAnswer(BaseModel):
    """A tool by the name that requests and models use.

    One whose server cannot be reached is `away`, as it was last seen. Of one that is `held_back` until an operator has
    approved its definition, nothing else is told. `approval` says which calls a person must approve: `after_untrusted`
    those of a model that has read a result of an `untrusted` tool, which anybody may have written. `requires_approval`
    says that there are such calls.
    """

    id: str
    object: Literal["threadmesh.tool"]
    server: str
    status: Literal["ready", "away", "held_back"]
    title: str | None
    description: str | None
    parameters: dict[str, Any] | None
    effect: Literal["read_only", "idempotent", "keyed", "unsafe"] | None
    requires_approval: bool | None
    approval: Literal["never", "always", "after_untrusted"] | None
    untrusted: bool | None
    queued: bool | None
    definition_hash: str | None


class ToolServerAnswer(BaseModel):
    """A server of tools; a `resting` one has failed too often and is left alone for a while."""

    id: str
    object: Literal["threadmesh.tool_server"]
    status: Literal["connecting", "ready", "unavailable"]
    resting: bool


class ToolList(BaseModel):
    """The tools ordered by name, and their servers."""

    model_config = example(
        {
            "object": "list",
            "data": [
                {
                    "id": "time__get_current_time",
                    "object": "threadmesh.tool",
                    "server": "time",
                    "status": "ready",
                    "title": "The time now",
                    "description": "Get current time in a specific timezone",
                    "parameters": {"type": "object", "properties": {"timezone": {"type": "string"}}},
                    "effect": "read_only",
                    "requires_approval": False,
                    "approval": "never",
                    "untrusted": False,
                    "queued": False,
                    "definition_hash": "5f2c",
                }
            ],
            "servers": [{"id": "time", "object": "threadmesh.tool_server", "status": "ready", "resting": False}],
        }
    )
    object: Literal["list"]
    data: list[ToolAnswer]
    servers: list[ToolServerAnswer]
