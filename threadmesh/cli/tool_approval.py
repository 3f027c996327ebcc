"""`threadmesh tools approve`: what changed in a tool's definition, and a person's word on it."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.cli.calls import SECONDS, list_tools, reached
from threadmesh.cli.output import stdout, visible
from threadmesh.errors import ToolNotFound

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


async def changed_tool(target: str, name: str) -> pb.QuarantinedTool | None:
    """Give the tool if it is held back, None if it is offered; raises `ToolNotFound`."""
    async with reached(target, peer="tools") as channel:
        catalogue = await list_tools(channel)
    for held in catalogue.quarantined:
        if held.name == name:
            return held
    if any(tool.definition.name == name for tool in catalogue.tools):
        return None
    raise ToolNotFound(f"There is no tool {name!r}; see `threadmesh tools list`.")


async def approve_tool(target: str, held: pb.QuarantinedTool) -> None:
    """Approve the definition that was shown; raises `DefinitionDiffers` when there is a newer one."""
    request = pb.ApproveDefinitionRequest(name=held.name, definition_hash=held.present.hash)
    async with reached(target, peer="tools") as channel:
        await ToolsServiceStub(channel).ApproveDefinition(request, timeout=SECONDS)


def show_change(held: pb.QuarantinedTool) -> None:
    """Write what to look at and what has changed as a unified diff, with every character visible."""
    console = stdout()
    for warning in held.warnings:
        console.print(f"Look at {held.name}: {visible(warning)}.", markup=False)
    for line in difference(held):
        console.print(line, style=_COLOURS.get(line[:1]), markup=False)


def difference(held: pb.QuarantinedTool) -> Iterator[str]:
    """Give the lines of a unified diff from the pinned definition to the present one, or of that if it is the same."""
    if held.pinned.hash == held.present.hash:
        yield from _lines(held.present)
        return
    pinned_on = held.pinned.pin_time.ToDatetime().date().isoformat()
    yield from difflib.unified_diff(
        list(_lines(held.pinned)),
        list(_lines(held.present)),
        fromfile=f"{held.name} as pinned on {pinned_on}",
        tofile=f"{held.name} as it is now",
        lineterm="",
    )


def _lines(definition: pb.Definition) -> Iterator[str]:
    """Give the description line by line, then the other fields as JSON: a diff of one long string shows nothing."""
    fields: dict[str, Any] = json.loads(definition.definition_json or "{}")
    description = fields.pop("description", None)
    if isinstance(description, str):
        yield "description:"
        yield from (f"  {line}" for line in _visible_lines(description))
    for name, value in fields.items():
        yield from _visible_lines(f"{name}: {json.dumps(value, indent=2, ensure_ascii=False)}")


def _visible_lines(text: str) -> Iterator[str]:
    yield from (visible(line) for line in text.split("\n"))
