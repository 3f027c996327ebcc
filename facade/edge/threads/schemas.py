"""The bodies of requests about threads."""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from facade.edge.chat.fields import Integer, Schema
from facade.edge.chat.schemas import Metadata, Tool
from threadmesh.errors import InvalidArgument

_LONGEST_SECONDS = 3_153_600_000
_MOST = 2**63 - 1
ModelName = Annotated[str | None, Field(max_length=256, description="Absent: the default model.")]
Item = Annotated[str, Field(min_length=1, max_length=128, description="An item's id, or its number in the thread.")]


def plain_key(key: str) -> str:
    """Give a thread's key as requests for answers name it, without space around it.

    Raises `ValueError` for a key that none of them can name.
    """
    stripped = key.strip()
    if not stripped or not stripped.isprintable():
        raise ValueError("may not be blank, nor hold control characters or invisible ones")
    return stripped


def asked_key(key: str, *, field: str) -> str:
    """Read a key of a query; an empty one is none. Raises `InvalidArgument`."""
    try:
        return plain_key(key) if key else ""
    except ValueError as error:
        raise InvalidArgument(f"{field} {error}.", field=field) from error


Key = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(plain_key)]


def _required(schema: dict[str, Any]) -> None:
    """Say that one of the limits must be there."""
    schema["anyOf"] = [{"required": [name]} for name in ("max_age_seconds", "max_items", "max_tokens")]


class NewThread(Schema):
    """The body of `POST /v1/threads`; all of it may be absent."""

    key: Key | None = Field(default=None, description="Finds the thread from now on. Absent: only its id does.")
    metadata: Metadata | None = Field(default=None, description="Describes the thread if it is made now.")


class ThreadUpdate(Schema):
    """The body of `POST /v1/threads/{id}`."""

    metadata: Metadata | None = Field(description="Replaces all that there was; null leaves none.")


class PruneRequest(Schema):
    """The body of `POST /v1/threads/{id}/prune`: how much stays. One limit is needed."""

    model_config = ConfigDict(json_schema_extra=_required)

    max_age_seconds: Annotated[Integer, Field(gt=0, le=_LONGEST_SECONDS)] | None = Field(default=None)
    max_items: Annotated[Integer, Field(gt=0, le=_MOST)] | None = Field(default=None)
    max_tokens: Annotated[Integer, Field(gt=0, le=_MOST)] | None = Field(default=None)
    only_summarized: bool = Field(default=False, description="Removes only what the newest summary stands for.")
    dry_run: bool = Field(default=False, description="Removes nothing and says what would go.")

    @model_validator(mode="after")
    def _limited(self) -> "PruneRequest":
        if self.max_age_seconds is None and self.max_items is None and self.max_tokens is None:
            raise ValueError("must have a limit: max_age_seconds, max_items or max_tokens")
        return self


class WarmRequest(Schema):
    """The body of `POST /v1/threads/{id}/warm`: as much of the next request as is known; all of it may be absent."""

    model: ModelName = None
    instructions: str | None = Field(default=None, description="Those of the response that will be asked for.")
    tools: list[Tool] | None = Field(default=None, max_length=128)
    max_tokens: Annotated[Integer, Field(ge=1, lt=2**31)] | None = Field(
        default=None, description="Leaves as much room for the answer as that of the next request."
    )


class SummaryRequest(Schema):
    """The body of `POST /v1/threads/{id}/summary`; all of it may be absent."""

    model: ModelName = None
    up_to: Item | None = Field(default=None, description="The last item to retell. Absent: before the newest turn.")
