"""What several tools can do alike, and which of them is the best one to do it now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools_svc.domain.catalog import Catalogue, Entry
from tools_svc.domain.tool import Effect, ServerState

_STRICTNESS = [Effect.READ_ONLY, Effect.IDEMPOTENT, Effect.KEYED, Effect.UNSAFE]
_WEIGHT = 0.2
"""How much the latest call counts for what is known of a tool."""
_STEPS = 4
"""Failing shares are told apart in quarters: nothing changes its rank for one failure among many calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A tool that has the capability, by its name in the catalogue; lower `preference` comes first.

    `arguments` gives the tool's names for arguments that the capability names otherwise, `fixed` those that are always
    the same.
    """

    tool: str
    preference: int = 0
    arguments: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def translated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give the capability's arguments as the tool takes them."""
        return {**{self.arguments.get(name, name): value for name, value in arguments.items()}, **self.fixed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What can be done, as a model is told, and the tools that can do it."""

    name: str
    description: str
    parameters_json: str
    alternatives: tuple[Alternative, ...]


@dataclass(slots=True)
class Pulse:
    """How calls of a tool have gone lately: seconds of those that were answered, and the share that failed."""

    seconds: float | None = None
    failing: float = 0.0

    def answered(self, seconds: float) -> None:
        """Count a call that was answered."""
        before = seconds if self.seconds is None else self.seconds
        self.seconds = before + _WEIGHT * (seconds - before)
        self.failing -= _WEIGHT * self.failing

    def failed(self) -> None:
        """Count a call that was not answered."""
        self.failing += _WEIGHT * (1.0 - self.failing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An alternative in its rank; `hindrance` says why it is not called now, empty for one that can be."""

    alternative: Alternative
    entry: Entry | None
    hindrance: str
    pulse: Pulse


def ranked(capability: Capability, catalogue: Catalogue, pulses: Mapping[str, Pulse]) -> list[Ranked]:
    """Rank the alternatives, the best first: those that can be called, by preference, failures and speed."""
    entries = {entry.tool.name: entry for shelf in catalogue.shelves.values() for entry in shelf.entries}
    found = []
    for alternative in capability.alternatives:
        entry = entries.get(alternative.tool)
        pulse = pulses.get(alternative.tool, Pulse())
        hindrance = _hindrance(alternative, entry, catalogue)
        found.append(Ranked(alternative=alternative, entry=entry, hindrance=hindrance, pulse=pulse))
    return sorted(found, key=_rank)


def strictest(capability: Capability, catalogue: Catalogue) -> Effect:
    """Give the strictest effect of the alternatives that are there; UNSAFE if none is."""
    wanted = {alternative.tool for alternative in capability.alternatives}
    tools = (entry.tool for shelf in catalogue.shelves.values() for entry in shelf.entries)
    effects = [tool.effect for tool in tools if tool.name in wanted]
    return max(effects, key=_STRICTNESS.index, default=Effect.UNSAFE)


def distrusts(capability: Capability, catalogue: Catalogue) -> bool:
    """Say whether anybody may have written what one of the alternatives answers; so it is of one that is not there."""
    tools = {entry.tool.name: entry.tool for shelf in catalogue.shelves.values() for entry in shelf.entries}
    return any(each.tool not in tools or tools[each.tool].untrusted for each in capability.alternatives)


def _rank(each: Ranked) -> tuple[bool, int, int, float]:
    # A tool that nobody has called yet is taken for a fast one, so that it is found out.
    failing, seconds = int(each.pulse.failing * _STEPS), each.pulse.seconds or 0.0
    return bool(each.hindrance), each.alternative.preference, failing, seconds


def _hindrance(alternative: Alternative, entry: Entry | None, catalogue: Catalogue) -> str:
    if any(held.tool.name == alternative.tool for held in catalogue.quarantined):
        return "its definition has changed and waits for approval"
    if entry is None:
        return "its server does not offer it now"
    server = catalogue.shelves[entry.tool.server].server
    if server.state is not ServerState.READY:
        return f"its server is {server.state.value}"
    if server.rest is not None:
        return "its server failed too often and is left alone"
    return "its calls may need a person's approval" if entry.tool.requires_approval else ""


def known_names(capabilities: Sequence[Capability], tool: str) -> list[str]:
    """Name the capabilities that a tool has."""
    return [each.name for each in capabilities if any(alternative.tool == tool for alternative in each.alternatives)]
