"""What becomes of definitions, in the log: of each, but of no more at once than anybody reads."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import structlog

from threadmesh.errors import MeshError
from tools_svc.domain.catalog import Dropped, Quarantined
from tools_svc.domain.naming import public_name
from tools_svc.domain.pin import Pin

log = structlog.get_logger()

MOST_LINES = 20
"""Of what happens at once to more tools of the mesh, one more line gives the number: a line takes time from calls."""

Item = TypeVar("Item")


class PinLog:
    """A `PinListener` that writes log lines."""

    def pinned(self, pins: Sequence[Pin], *, server_known: bool) -> None:
        """Tools are new; those that a known server adds are worth a look."""
        write = log.warning if server_known else log.info
        for pin in _first(pins, "tool.definition_pinned"):
            write("tool.definition_pinned", **_facts(pin), server_known=server_known)

    def accepted(self, pins: Sequence[Pin]) -> None:
        """Changes were accepted unseen."""
        for pin in _first(pins, "tool.definition_accepted"):
            log.warning("tool.definition_accepted", **_facts(pin))

    def approved(self, pin: Pin) -> None:
        """A person accepted a change."""
        log.info("tool.definition_approved", **_facts(pin))

    def quarantined(self, held: Sequence[Quarantined]) -> None:
        """Definitions wait for a person."""
        for each in _first(held, "tool.held_back"):
            log.warning(
                "tool.held_back" if each.suspicious else "tool.definition_changed",
                **_facts(each.pin),
                present_hash=each.tool.definition_hash,
                message=f"Look at it and approve it with: threadmesh tools approve {each.tool.name}",
            )

    def dropped(self, dropped: Sequence[Dropped]) -> None:
        """Tools are left out of the catalogue."""
        for each in _first(dropped, "tool.dropped"):
            log.warning(
                "tool.dropped",
                server=each.server,
                tool=each.tool[:200],
                reason=each.failure.reason,
                message=each.failure.message,
                **{f"fact_{name}": value for name, value in each.failure.facts.items()},
            )

    def not_kept(self, error: MeshError) -> None:
        """A pin lasts only as long as the process."""
        log.error("tool.definitions_not_kept", message=error.message)


def log_suspicious(found: Sequence[tuple[str, str]]) -> None:
    """Write what an operator should look at: tools, and why."""
    for name, reason in _first(found, "tool.suspicious"):
        log.warning("tool.suspicious", tool=name, reason=reason)


def _first(items: Sequence[Item], event: str) -> Iterator[Item]:
    yield from items[:MOST_LINES]
    if (more := len(items) - MOST_LINES) > 0:
        log.warning("tool.and_more", of=event, tools=more, message="See: threadmesh tools list")


def _facts(pin: Pin) -> dict[str, str]:
    return {
        "tool": public_name(pin.server, pin.tool),
        "server": pin.server,
        "definition_hash": pin.definition_hash,
    }
