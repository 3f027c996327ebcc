"""Who listens on a TCP port of this machine, without connecting to it.

A connection to a port that nobody listens on can, within the range that the system gives to connections, be given that
very port as its own and so reach itself. Afterwards the port is unusable for a minute. 50051 and its neighbours are
within that range.
"""

from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def is_listened_on(port: int) -> bool:
    """Say whether a process listens on the port, on any address."""
    return any(True for _ in listening_inodes(port))


def listening_inodes(port: int) -> Iterator[str]:
    """Give the inodes of the sockets that listen on the port; none where the system has no `/proc/net`."""
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
