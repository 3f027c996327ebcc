"""`threadmesh down`: stops a mesh of this machine."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from threadmesh.cli.processes import ProcessId
from threadmesh.cli.state import MeshState, read_state, remove_state

_POLL_SECONDS = 0.05
_KILLED_SECONDS = 5.0


def down(data_directory: Path, *, seconds: float) -> str:
    """Stop the mesh and return when all its processes are gone; says in one line what was done.

    The supervisor stops its units one after the other. Units that a killed supervisor left behind are stopped here,
    and everything that is not done after `seconds` is killed.
    """
    mesh = read_state(data_directory)
    if mesh is None:
        remove_state(data_directory)
        return f"Nothing is running on {data_directory}."
    ends = time.monotonic() + seconds
    stopped = _stop(mesh.supervisor.id, ends=ends) and _swept(data_directory, ends=ends)
    if not stopped:
        _kill(mesh, data_directory)
    remove_state(data_directory)
    if stopped:
        return "The mesh has stopped."
    return "The mesh did not stop in time and was killed; answers that were still running are lost."


def _swept(data_directory: Path, *, ends: float) -> bool:
    left = read_state(data_directory)
    return all(_stop(process, ends=ends) for process in left.processes) if left else True


def _stop(process: ProcessId, *, ends: float) -> bool:
    process.send(signal.SIGTERM)
    return _gone([process], ends=ends)


def _gone(processes: Sequence[ProcessId], *, ends: float) -> bool:
    while any(process.alive for process in processes):
        if time.monotonic() >= ends:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _kill(mesh: MeshState, data_directory: Path) -> None:
    mesh.supervisor.id.send(signal.SIGKILL)  # first, as it would start its units again
    _gone([mesh.supervisor.id], ends=time.monotonic() + _KILLED_SECONDS)
    latest = read_state(data_directory) or mesh
    units = [unit.process.id for unit in latest.units if unit.process]
    for process in units:
        process.kill_group()
    _gone(units, ends=time.monotonic() + _KILLED_SECONDS)
