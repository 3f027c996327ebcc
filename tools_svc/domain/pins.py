"""Which definition of a tool is trusted: the one that was seen first, until a person approves another.

A tool that a known server adds is trusted like those of a new server: who may add tools under a server's name was
trusted when the server was configured, and what models have been told of other tools stays as it was. It is told to
the listener all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from threadmesh.clock import Clock
from threadmesh.conversation import Failure
from threadmesh.errors import MeshError, UnsupportedSchema
from tools_svc.domain.catalog import Catalogue, Dropped, Entry, Quarantined, Shelf
from tools_svc.domain.naming import public_name
from tools_svc.domain.pin import Pin
from tools_svc.domain.pin_room import Room, shortened
from tools_svc.domain.ports import PinListener, PinStore
from tools_svc.domain.shadowing import warnings
from tools_svc.domain.tool import Tool

_TAKEN = "Its name, as models would call it, was that of another tool of its server before."
_BEYOND = (
    "Its server has shown more tools than are remembered, so a new one is not trusted. An operator who trusts it "
    "can take the server's pins out of the file of pins while tools_svc is stopped."
)


class Changes(StrEnum):
    """What happens to a tool whose definition changes."""

    QUARANTINE = "quarantine"
    ACCEPT = "accept"


class Suspicious(StrEnum):
    """What happens to a tool that an operator should look at."""

    OFFER = "offer"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What is to be done with a shelf: which tools may be offered and which not, and what is to be pinned."""

    offered: tuple[Entry, ...]
    quarantined: tuple[Quarantined, ...]
    dropped: tuple[Dropped, ...]
    new: tuple[Pin, ...]
    accepted: tuple[Pin, ...]


class Pins:
    """Knows the trusted definition of every tool ever seen, and keeps it in a store.

    A tool for which its server has no more room is left out. What the store cannot keep is trusted until the process
    ends; the listener hears of it.
    """

    def __init__(
        self, store: PinStore, *, changes: Changes, suspicious: Suspicious, clock: Clock, listener: PinListener
    ) -> None:
        self._store = store
        self._changes = changes
        self._suspicious = suspicious
        self._clock = clock
        self._listener = listener
        self._pins = {(pin.server, pin.tool): pin for pin in store.pins()}

    async def inspect(self, shelf: Shelf) -> Shelf:
        """Pin the tools that are seen for the first time, and take off the shelf those that are not as pinned."""
        before = self._pins_of(shelf.server.name)
        verdict = self._judge(shelf.entries, before)
        await self._pin(shelf, verdict.new + verdict.accepted)
        if verdict.new:
            self._listener.pinned(verdict.new, server_known=bool(before))
        if verdict.accepted:
            self._listener.accepted(verdict.accepted)
        offered = _without(shelf, entries=verdict.offered, quarantined=verdict.quarantined)
        return replace(offered, dropped=(*shelf.dropped, *verdict.dropped))

    def screen(self, shelves: Mapping[str, Shelf]) -> Mapping[str, Shelf]:
        """Take off the shelves the suspicious tools that no person has approved, if such are to be held back.

        Tools are looked at together, since one may speak of another. What was never pinned is the operator's own.
        """
        if self._suspicious is Suspicious.OFFER:
            return shelves
        suspected = warnings(Catalogue(shelves=shelves))
        return {name: self._screened(shelf, suspected) for name, shelf in shelves.items()}

    def _screened(self, shelf: Shelf, suspected: Mapping[str, object]) -> Shelf:
        pins = {entry.tool.name: self._pins.get((entry.tool.server, entry.tool.server_tool)) for entry in shelf.entries}
        held = tuple(
            Quarantined(tool=entry.tool, pin=pin)
            for entry in shelf.entries
            if entry.tool.name in suspected and (pin := pins[entry.tool.name]) is not None and not pin.approved
        )
        names = {each.tool.name for each in held}
        return _without(
            shelf,
            entries=tuple(entry for entry in shelf.entries if entry.tool.name not in names),
            quarantined=(*shelf.quarantined, *held),
        )

    async def approve(self, tool: Tool) -> None:
        """Trust this definition of the tool from now on; raises `StoreUnavailable` when it cannot be kept."""
        pin = replace(self._pin_of(tool), approved=True)
        await self._store.keep([pin])
        self._pins[pin.server, pin.tool] = pin
        self._listener.approved(pin)

    def _judge(self, entries: Sequence[Entry], before: Sequence[Pin]) -> _Verdict:
        room, names = Room(before), self._names_of(entries, before)
        offered, quarantined, dropped = list[Entry](), list[Quarantined](), list[Dropped]()
        new, accepted = list[Pin](), list[Pin]()
        for entry in entries:
            pin = self._pins.get((entry.tool.server, entry.tool.server_tool))
            if pin is not None and pin.definition_hash != entry.tool.definition_hash:
                if self._changes is Changes.QUARANTINE:
                    quarantined.append(Quarantined(tool=entry.tool, pin=pin))
                    continue
                accepted.append(self._pin_of(entry.tool))
            elif pin is None:
                if entry.tool.name in names:
                    dropped.append(_dropped(entry.tool, _TAKEN))
                    continue
                if not room.take(entry.tool.server_tool):
                    dropped.append(_dropped(entry.tool, _BEYOND))
                    continue
                new.append(self._pin_of(entry.tool))
            offered.append(entry)
        return _Verdict(
            offered=tuple(offered),
            quarantined=tuple(quarantined),
            dropped=tuple(dropped),
            new=tuple(new),
            accepted=tuple(accepted),
        )

    def _names_of(self, entries: Iterable[Entry], pins: Iterable[Pin]) -> set[str]:
        """Give the names that models know of the server's tools, if any of these is new; one that is gone has its own.

        A server could find a new tool that comes to such a name, and pass it off for the other one.
        """
        if all((entry.tool.server, entry.tool.server_tool) in self._pins for entry in entries):
            return set()
        return {public_name(pin.server, pin.tool) for pin in pins}

    def _pins_of(self, server: str) -> list[Pin]:
        return [pin for pin in self._pins.values() if pin.server == server]

    async def _pin(self, shelf: Shelf, pins: tuple[Pin, ...]) -> None:
        """Trust these definitions of a server, and keep them with what room its pins leave for their texts."""
        self._pins |= {(pin.server, pin.tool): pin for pin in pins}
        if pins:
            offered = {entry.tool.server_tool for entry in shelf.entries}
            cut = {pin.tool: pin for pin in shortened(self._pins_of(shelf.server.name), offered=offered)}
            pins = (*(pin for pin in pins if pin.tool not in cut), *cut.values())
            self._pins |= {(pin.server, pin.tool): pin for pin in cut.values()}
        try:
            if pins:
                await self._store.keep(pins)
        except MeshError as error:
            self._listener.not_kept(error)

    def _pin_of(self, tool: Tool) -> Pin:
        return Pin(
            server=tool.server,
            tool=tool.server_tool,
            definition_hash=tool.definition_hash,
            definition_json=tool.definition_json,
            pinned_at=self._clock.now(),
        )


def _dropped(tool: Tool, reason: str) -> Dropped:
    return Dropped(server=tool.server, tool=tool.server_tool, failure=Failure.of(UnsupportedSchema(reason)))


def _without(shelf: Shelf, *, entries: tuple[Entry, ...], quarantined: tuple[Quarantined, ...]) -> Shelf:
    """Give a shelf on which fewer tools are offered."""
    hidden = min(len(shelf.entries) - len(entries), shelf.server.tool_count)
    server = replace(shelf.server, tool_count=shelf.server.tool_count - hidden)
    return replace(shelf, server=server, entries=entries, quarantined=quarantined)
