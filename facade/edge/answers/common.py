"""What answers have in common, and those of no topic."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from facade.edge.errors import TYPES


def example(shown: dict[str, Any]) -> ConfigDict:
    """Let a model of an answer show an example of it; answers may have further fields."""
    return ConfigDict(extra="allow", json_schema_extra={"examples": [shown]})


class ErrorBody(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")
    message: str
    type: Annotated[str, Field(json_schema_extra={"enum": list(TYPES)})]
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """What every request is answered with that is not answered for; docs/errors.md lists the codes."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorBody


class Health(BaseModel):
    """How the facade is, and what of the mesh it needs."""

    model_config = example({"status": "ok", "units": {"facade": "ok", "inference": "ok", "context": "ok"}})
    status: str


_TOKENS = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class Usage(BaseModel):
    """Tokens, read and written."""

    model_config = example(_TOKENS)
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ItemPage(BaseModel):
    """A page of items."""

    model_config = example({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """What is gone."""

    model_config = example({"id": "resp_01", "object": "response", "deleted": True})
    id: str
    object: str
    deleted: bool
