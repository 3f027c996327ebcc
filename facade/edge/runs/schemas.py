"""The bodies of requests about runs and their calls."""

from typing import Any, Literal

from pydantic import Field

from facade.edge.chat.fields import Schema


class Decision(Schema):
    """What every decision about a call may say."""

    reason: str = Field(default="", max_length=1024, description="The model reads it, and it is kept.")
    arguments_hash: str = Field(
        default="", max_length=128, description="The arguments_hash that was shown; other arguments are refused."
    )
    request_id: str = Field(
        default="", max_length=128, description="Tells this decision, sent again, from another one, which is refused."
    )


class Approval(Decision):
    """The body of an approval."""

    definition_hash: str = Field(
        default="", max_length=128, description="The definition_hash that was shown; the call has it."
    )


class Denial(Decision):
    """The body of a denial."""


class Settlement(Decision):
    """The body of what was found out about a call whose outcome was unknown."""

    outcome: Literal["succeeded", "failed"] = Field(description="failed: the call had no effect.")
    output: str = Field(default="", max_length=1_000_000, description="What the model reads of it.")


class FormAnswer(Schema):
    """An answer to one question."""

    action: Literal["accept", "decline", "cancel"] = Field(
        default="accept", description="accept with content, decline, or cancel: nobody answers."
    )
    content: dict[str, Any] | None = Field(default=None, description="What was filled in, by the form's fields.")


class Answers(FormAnswer):
    """The body of a person's answers to a tool's server: to the only question, or to each by its id."""

    round: int = Field(
        default=0, ge=0, le=1000, description="The round that was shown; answers to it count for no other one."
    )
    answers: dict[str, FormAnswer] = Field(
        default={}, max_length=16, description="The answers by the questions' ids, where there are several."
    )
    request_id: str = Field(
        default="", max_length=128, description="Tells these answers, sent again, from others, which are refused."
    )
