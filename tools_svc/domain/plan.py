"""Decides for each call of a batch whether it goes out; a call that may not is answered without asking its server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from threadmesh.conversation import CallFinished, ToolCall
from threadmesh.errors import InvalidArgument, InvalidToolArguments, MeshError
from tools_svc.domain.arguments import parse_arguments
from tools_svc.domain.catalog import Catalogue, Entry
from tools_svc.domain.output import failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A call that goes out."""

    call: ToolCall
    entry: Entry
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that has ended before it began; its result tells the model what to do better."""

    call: ToolCall
    finished: CallFinished


def plan(calls: Sequence[ToolCall], catalogue: Catalogue) -> list[Planned | Refused]:
    """Plan each call, in order; raises `InvalidArgument` when two calls share an id."""
    seen: set[str] = set()
    for index, call in enumerate(calls):
        if call.id in seen:
            raise InvalidArgument("Two calls of one batch have the same id.", field=f"calls[{index}].id")
        seen.add(call.id)
    return [_plan(call, catalogue) for call in calls]


def _plan(call: ToolCall, catalogue: Catalogue) -> Planned | Refused:
    try:
        entry = catalogue.find(call.name)
        arguments = parse_arguments(call.arguments_json)
        if complaint := entry.arguments.complaint(arguments):
            raise InvalidToolArguments(f"The arguments do not fit the tool's schema; {complaint}.")
    except MeshError as error:
        return Refused(call=call, finished=failed(error))
    return Planned(call=call, entry=entry, arguments=arguments)
