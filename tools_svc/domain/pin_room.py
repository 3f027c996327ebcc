"""How much is remembered of one server's tools: enough for any honest one, and no more for one that renames its tools.

No pin is ever forgotten, for then a tool could come back changed and be taken for a new one. What does not fit is left
out instead: a new tool beyond the limits is not trusted, and of old pins only the definition's text is forgotten, which
serves nothing but to show a difference. The hash, by which a change is noticed, stays.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from tools_svc.domain.pin import Pin

MOST_PINS = 2_000
LONGEST_NAMES = 256 * 1024
LONGEST_TEXTS = 2 * 1024 * 1024
"""Pins of a server, and the characters that their names and that their definitions may have together."""


class Room:
    """What is left for new pins of a server that has these."""

    def __init__(self, pins: Iterable[Pin]) -> None:
        names = [len(pin.tool) for pin in pins]
        self._pins, self._names = MOST_PINS - len(names), LONGEST_NAMES - sum(names)

    def take(self, tool: str) -> bool:
        """Take the room for one more tool; gives whether there is any."""
        if self._pins < 1 or self._names < len(tool):
            return False
        self._pins, self._names = self._pins - 1, self._names - len(tool)
        return True


def shortened(pins: Collection[Pin], *, offered: Collection[str]) -> Iterator[Pin]:
    """Give the pins of a server that have to go on without their texts, so that all of them have room.

    First those of tools that are not `offered` now, the oldest first.
    """
    beyond = sum(len(pin.definition_json) for pin in pins) - LONGEST_TEXTS
    for pin in sorted(pins, key=lambda pin: (pin.tool in offered, pin.pinned_at, pin.tool)):
        if beyond <= 0:
            return
        if pin.definition_json:
            beyond -= len(pin.definition_json)
            yield replace(pin, definition_json="")
