"""The rule on tool calls of a chat completion request: a mode, a tool that must be called, or those that may be."""

from typing import Annotated, Literal

from pydantic import Field

from facade.domain.narrowing import Allowed
from facade.edge.chat.fields import Schema
from threadmesh.conversation import ToolChoice, ToolChoiceMode


class FunctionName(Schema):
    """A tool's name."""

    name: str = Field(min_length=1, max_length=128)


class NamedTool(Schema):
    """A tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedFunctions(Schema):
    """The tools that may be called, and whether one of them must be."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=128)


class AllowedToolsChoice(Schema):
    """Some of the request's tools, to which the model is confined."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedFunctions


Choice = (
    Literal["none", "auto", "required"] | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")] | None
)


def rule(choice: Choice) -> ToolChoice | None:
    """Give the rule as models are told of it; None where the request has none."""
    match choice:
        case None:
            return None
        case str():
            return ToolChoice(mode=ToolChoiceMode(choice))
        case NamedTool():
            return ToolChoice(mode=ToolChoiceMode.REQUIRED, name=choice.function.name)
        case AllowedToolsChoice():
            return ToolChoice(mode=ToolChoiceMode(choice.allowed_tools.mode))


def allowed(choice: Choice) -> list[Allowed] | None:
    """Name the tools that may be called; None where all may be."""
    if not isinstance(choice, AllowedToolsChoice):
        return None
    place = "tool_choice.allowed_tools.tools[{}].function.name"
    tools = enumerate(choice.allowed_tools.tools)
    return [Allowed(name=tool.function.name, field=place.format(index)) for index, tool in tools]
