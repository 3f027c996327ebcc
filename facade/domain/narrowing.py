"""Requests that confine the model to some of their tools."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from facade.domain.parameters import ServerTools, TurnParameters
from threadmesh.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A tool that the model may call, and the field of the request that says so."""

    name: str
    field: str


def narrowed(parameters: TurnParameters, allowed: Sequence[Allowed] | None) -> TurnParameters:
    """Leave the request only those of its tools that are allowed, the client's and the mesh's; None allows all.

    Raises `InvalidArgument` for one that is not the request's.
    """
    if allowed is None:
        return parameters
    clients = {tool.name for tool in parameters.tools}
    for each in allowed:
        if each.name not in clients and not parameters.server_tools.wants(each.name):
            raise InvalidArgument(f"There is no tool named {each.name[:64]} in this request.", field=each.field)
    names = dict.fromkeys(each.name for each in allowed)
    return replace(
        parameters,
        tools=tuple(tool for tool in parameters.tools if tool.name in names),
        server_tools=ServerTools(names=tuple(name for name in names if name not in clients)),
        narrowed=True,
    )
