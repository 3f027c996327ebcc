"""The exit statuses of every command, and the errors that only a command line knows."""

from enum import IntEnum

from threadmesh.errors import MeshError, PreconditionFailed, Unavailable


class Exit(IntEnum):
    """What the shell is told; the command line's help lists the same."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    CONFIGURATION = 78
    INTERRUPTED = 130


class NotRunning(Unavailable):
    """The mesh is not running here; start it with `threadmesh up`."""

    reason = "MESH_NOT_RUNNING"


class AlreadyRunning(PreconditionFailed):
    """The mesh is already running on this data directory; `threadmesh down` stops it."""

    reason = "MESH_ALREADY_RUNNING"


class PortsBusy(PreconditionFailed):
    """A port that the mesh needs is in use."""

    reason = "PORTS_BUSY"


class UnitFailed(MeshError):
    """A unit of the mesh does not run."""

    reason = "UNIT_FAILED"


def exit_status(error: MeshError) -> Exit:
    """Give the exit status of a command that ended with this error."""
    if error.reason == "CONFIGURATION":
        return Exit.CONFIGURATION
    return Exit.NOT_RUNNING if isinstance(error, Unavailable) else Exit.FAILED
