"""The state file by which commands find a running mesh, and the lock that keeps a second one away.

Both lie in the data directory: `mesh.json` is written by the supervisor whenever a process changes and removed when it
ends; `mesh.lock` is held as long as the supervisor lives, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from threadmesh.cli.exits import AlreadyRunning
from threadmesh.cli.processes import ProcessId
from threadmesh.cli.units import Probe
from threadmesh.settings import ConfigurationError

STATE = "mesh.json"
LOCK = "mesh.lock"


class Process(BaseModel):
    """A process on file; see `ProcessId`."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start_ticks: int

    @property
    def id(self) -> ProcessId:
        """The process itself."""
        return ProcessId(pid=self.pid, start_ticks=self.start_ticks)


class UnitState(BaseModel):
    """A unit of a running mesh; `process` is absent while it is about to be started again."""

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    metrics_url: str
    probe: Probe
    log: Path
    process: Process | None = None
    restarts: int = 0


class MeshState(BaseModel):
    """A mesh of this machine: its supervisor and its units in the order of their start."""

    model_config = ConfigDict(frozen=True)

    supervisor: Process
    detached: bool
    start_time: AwareDatetime
    model: str
    units: tuple[UnitState, ...]
    certificates: Path | None = None

    @property
    def processes(self) -> list[ProcessId]:
        """Every process on file that still runs, the supervisor first, then the units in the order of their stop."""
        on_file = [self.supervisor, *(unit.process for unit in reversed(self.units) if unit.process)]
        return [process.id for process in on_file if process.id.alive]

    def unit(self, name: str) -> UnitState | None:
        """Give one unit."""
        return next((unit for unit in self.units if unit.name == name), None)


def read_state(data_directory: Path) -> MeshState | None:
    """Give the mesh of a data directory; None when there is none, or only the file of one that is gone."""
    try:
        state = MeshState.model_validate_json((data_directory / STATE).read_bytes())
    except (OSError, ValidationError):  # also of another version: the lock and the ports still protect its mesh
        return None
    return state if state.processes else None


def write_state(data_directory: Path, state: MeshState) -> None:
    """Replace the file at once, so that no reader finds half of it."""
    path = data_directory / STATE
    draft = path.with_suffix(".json.new")
    draft.write_text(state.model_dump_json(indent=2) + "\n", "utf-8")
    draft.replace(path)


def remove_state(data_directory: Path) -> None:
    """Forget the mesh."""
    (data_directory / STATE).unlink(missing_ok=True)


def prepare(data_directory: Path) -> None:
    """Make the data directory, readable by its owner alone; raises `ConfigurationError` when it cannot be used."""
    try:
        data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data_directory / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {data_directory} cannot be used ({error.strerror}); choose another by --data-dir"
        ) from error


@contextmanager
def locked(data_directory: Path) -> Iterator[None]:
    """Be the data directory's only mesh until the block ends or the process dies; raises `AlreadyRunning`."""
    prepare(data_directory)
    descriptor = _open_lock(data_directory / LOCK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise already_running(data_directory) from error
        yield
    finally:
        os.close(descriptor)


def require_idle(data_directory: Path) -> None:
    """Return when no mesh runs on this data directory.

    Raises `AlreadyRunning` also when a supervisor was killed and its units have not ended yet.
    """
    with locked(data_directory):
        if read_state(data_directory):
            raise already_running(data_directory)


def already_running(data_directory: Path) -> AlreadyRunning:
    """Say which mesh is in the way and what to do."""
    state = read_state(data_directory)
    if state is None:
        return AlreadyRunning(f"A mesh is starting or ending on {data_directory}; try again in a moment.")
    if not state.supervisor.id.alive:
        return AlreadyRunning(
            f"Units of an earlier mesh still run on {data_directory}; stop them with `threadmesh down`."
        )
    facade = state.unit("facade")
    where = f" at http://{facade.address}" if facade else ""
    return AlreadyRunning(
        f"The mesh already runs on {data_directory}{where} (pid {state.supervisor.pid}); "
        "see `threadmesh status`, stop it with `threadmesh down`."
    )


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}); mend its permissions") from error
