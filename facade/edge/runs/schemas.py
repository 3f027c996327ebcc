"""The bodies of requests about runs and their calls."""

from typing import Literal

from pydantic import Field

from facade.edge.chat.fields import Schema

Reason = Field(default="", max_length=1024, description="The model reads it, and it is kept.")
Hash = Field(default="", max_length=128, description="The definition_hash that was shown; the call has it.")


class Approval(Schema):
    """The body of an approval."""

    reason: str = Reason
    definition_hash: str = Hash


class Denial(Schema):
    """The body of a denial."""

    reason: str = Reason


class Settlement(Schema):
    """The body of what was found out about a call whose outcome was unknown."""

    outcome: Literal["succeeded", "failed"] = Field(description="failed: the call had no effect.")
    output: str = Field(default="", max_length=1_000_000, description="The tool's result, if the call succeeded.")
    reason: str = Reason
