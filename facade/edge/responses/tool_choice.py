"""The rule on tool calls of a request for a response: a mode, what must be called, or the tools that may be."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from facade.domain.narrowing import Allowed, narrowed
from facade.domain.offer import Offer
from facade.domain.parameters import ServerTools, TurnParameters
from facade.edge.chat.fields import Schema
from facade.edge.responses.names import joined_tool
from threadmesh.conversation import ToolChoice, ToolChoiceMode
from threadmesh.errors import InvalidArgument


class NamedFunction(Schema):
    """A function of the client."""

    type: Literal["function"]
    name: str = Field(min_length=1, max_length=128)


class NamedMcpTool(Schema):
    """A tool of a server, or, without a name, any of them."""

    type: Literal["mcp"]
    server_label: str = Field(min_length=1, max_length=128)
    name: str | None = Field(default=None, min_length=1, max_length=128)


Named = Annotated[NamedFunction | NamedMcpTool, Field(discriminator="type")]


class AllowedTools(Schema):
    """Some of the request's tools, to which the model is confined, and whether it must call one of them."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Named] = Field(min_length=1, max_length=128)


Choice = (
    Literal["none", "auto", "required"]
    | Annotated[NamedFunction | NamedMcpTool | AllowedTools, Field(discriminator="type")]
    | None
)


def names_server(choice: Choice) -> bool:
    """Say whether it means all tools of a server, whichever these are."""
    named: Sequence[object] = choice.tools if isinstance(choice, AllowedTools) else (choice,)
    return any(isinstance(each, NamedMcpTool) and each.name is None for each in named)


def ruled(parameters: TurnParameters, choice: Choice, offer: Offer) -> TurnParameters:
    """Put the rule into a request's parameters, which have its tools.

    Raises `InvalidArgument` for tools and servers that are not the request's, and `ToolServerUnavailable` for a server
    whose tools nobody has seen.
    """
    match choice:
        case None:
            return parameters
        case str():
            return replace(parameters, tool_choice=ToolChoice(mode=ToolChoiceMode(choice)))
        case AllowedTools():
            rule = ToolChoice(mode=ToolChoiceMode(choice.mode))
            return narrowed(replace(parameters, tool_choice=rule), list(_allowed(choice, parameters, offer)))
        case NamedMcpTool(name=None):
            names = _of_server(choice.server_label, parameters.server_tools, offer, field="tool_choice.server_label")
            return replace(parameters, tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED), forced_tools=tuple(names))
        case NamedFunction() | NamedMcpTool():
            return replace(parameters, tool_choice=ToolChoice(mode=ToolChoiceMode.REQUIRED, name=_name(choice)))


def _allowed(choice: AllowedTools, parameters: TurnParameters, offer: Offer) -> Iterator[Allowed]:
    for index, each in enumerate(choice.tools):
        place = f"tool_choice.tools[{index}]"
        if isinstance(each, NamedMcpTool) and each.name is None:
            field = f"{place}.server_label"
            for name in _of_server(each.server_label, parameters.server_tools, offer, field=field):
                yield Allowed(name=name, field=field)
        else:
            yield Allowed(name=_name(each), field=f"{place}.name")


def _name(named: NamedFunction | NamedMcpTool) -> str:
    """Give the name by which models know the tool."""
    return joined_tool(named.server_label, named.name or "") if isinstance(named, NamedMcpTool) else named.name


def _of_server(label: str, wanted: ServerTools, offer: Offer, *, field: str) -> list[str]:
    names = [name for name, tool in offer.known.items() if tool.server == label and wanted.wants(name)]
    if not names:
        if wanted.everything:
            offer.require_server(label)
        raise InvalidArgument(f"There is no server {label[:64]} with tools in this request.", field=field)
    return names
