"""Tools as plain functions: copy this file, change it, and name it in the servers file.

{"mcpServers": {"home": {"python": "/srv/threadmesh/home_tools.py"}}}
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from threadmesh.tools import Progress, ToolError, tool

Room = Literal["kitchen", "hall"]

_lamps: dict[Room, int] = {"kitchen": 0, "hall": 40}


@dataclass(frozen=True)
class Lamp:
    """A lamp and how bright it is, in percent."""

    room: Room
    brightness: int


@tool(effect="read_only")
def lamps() -> list[Lamp]:
    """List the lamps of the house and how bright they are."""
    return [Lamp(room, brightness) for room, brightness in _lamps.items()]


@tool(effect="idempotent")
def set_lamp(room: Room, brightness: Annotated[int, Field(ge=0, le=100)]) -> Lamp:
    """Make a lamp brighter or darker.

    Args:
        room: The room in which the lamp hangs.
        brightness: In percent; 0 turns it off.
    """
    _lamps[room] = brightness
    return Lamp(room, brightness)


@tool
async def brew_tea(cups: int, progress: Progress, *, sugar: bool = False) -> str:
    """Brew tea in the kitchen."""
    if cups > 4:
        raise ToolError("The pot holds four cups; ask for fewer.")
    for cup in range(1, cups + 1):
        await asyncio.sleep(0.01)
        progress(cup, cups, f"cup {cup}")
    return f"{cups} cups of tea, {'sweet' if sugar else 'without sugar'}"
