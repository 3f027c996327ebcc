"""Whether a TCP port is free, and who holds it."""

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from threadmesh.cli.exits import PortsBusy
from threadmesh.cli.processes import command_of
from threadmesh.ports import is_listened_on, listening_inodes
from threadmesh.settings import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address to be listened on; `owner` says by whom and `variable` how to choose another port."""

    host: str
    port: int
    owner: str
    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    command: str


def require_free(endpoints: Sequence[Endpoint]) -> None:
    """Return when all can be listened on.

    Raises `PortsBusy`, which names the ports and their holders, and `ConfigurationError` for an address that is not
    this machine's or a port that may not be used.
    """
    busy = [endpoint for endpoint in endpoints if is_busy(endpoint)]
    if busy:
        raise PortsBusy("; ".join(map(describe, busy)))


def is_busy(endpoint: Endpoint) -> bool:
    """Say whether another process listens there; raises `ConfigurationError` when nobody could."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                # Without a listener it is a closed connection's; that passes, and the unit waits for it.
                return is_listened_on(endpoint.port)
            where = f"{endpoint.host}:{endpoint.port}"
            raise ConfigurationError(
                f"{endpoint.owner} cannot listen on {where} ({error.strerror or error}); set {endpoint.variable}"
            ) from error
    return False


def describe(endpoint: Endpoint) -> str:
    """Tell a person who holds the port and what to do."""
    holder = find_holder(endpoint.port)
    by = f" by pid {holder.pid} ({holder.command})" if holder else ""
    return (
        f"port {endpoint.port}, which {endpoint.owner} needs, is in use{by}; "
        f"stop that process or set {endpoint.variable} to another port"
    )


def find_holder(port: int) -> Holder | None:
    """Find who listens on a port; None when /proc does not show it to this user."""
    sockets = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    if not sockets:
        return None
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and not sockets.isdisjoint(_descriptors(entry / "fd")):
            return Holder(pid=int(entry.name), command=command_of(int(entry.name)))
    return None


def free_port(host: str) -> int:
    """Give a port that nobody uses now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _descriptors(folder: Path) -> Iterator[str]:
    """Give what a process has open; nothing where it is another user's or has just ended."""
    with suppress(OSError):
        for descriptor in folder.iterdir():
            with suppress(OSError):
                yield str(descriptor.readlink())
