"""What becomes of definitions, in the log."""

import structlog

from threadmesh.errors import MeshError
from tools_svc.domain.catalog import Quarantined
from tools_svc.domain.naming import public_name
from tools_svc.domain.pin import Pin

log = structlog.get_logger()


class PinLog:
    """A `PinListener` that writes log lines."""

    def pinned(self, pin: Pin, *, server_known: bool) -> None:
        """A tool is new; one that a known server adds is worth a look."""
        write = log.warning if server_known else log.info
        write("tool.definition_pinned", **_facts(pin), server_known=server_known)

    def accepted(self, pin: Pin) -> None:
        """A change was accepted unseen."""
        log.warning("tool.definition_accepted", **_facts(pin))

    def approved(self, pin: Pin) -> None:
        """A person accepted a change."""
        log.info("tool.definition_approved", **_facts(pin))

    def quarantined(self, held: Quarantined) -> None:
        """A definition waits for a person."""
        log.warning(
            "tool.held_back" if held.suspicious else "tool.definition_changed",
            **_facts(held.pin),
            present_hash=held.tool.definition_hash,
            message=f"Look at it and approve it with: threadmesh tools approve {held.tool.name}",
        )

    def not_kept(self, error: MeshError) -> None:
        """A pin lasts only as long as the process."""
        log.error("tool.definitions_not_kept", message=error.message)


def _facts(pin: Pin) -> dict[str, str]:
    return {
        "tool": public_name(pin.server, pin.tool),
        "server": pin.server,
        "definition_hash": pin.definition_hash,
    }
