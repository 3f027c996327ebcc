"""The whole mesh, as `threadmesh up` starts it."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants.contestant import FORGETFUL_MESH, MESH, Contestant
from benchmarks.contestants.server import answers, await_serving, started
from benchmarks.failures import BenchmarkError
from benchmarks.load.http import Endpoint
from threadmesh.cli.state import MeshState, UnitState, read_state
from threadmesh.cli.units import UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh(Contestant):
    """A running mesh; `inference` serves gRPC, `metrics` the same unit's metrics, `units` are processes by name."""

    inference: str
    metrics: Endpoint
    units: Mapping[str, int]


def mesh(directory: Path) -> AbstractContextManager[Mesh]:
    """Run a mesh with its defaults at free ports, on a data directory of its own. Raises `BenchmarkError`."""
    return _mesh(directory, MESH, {})


def forgetful_mesh(directory: Path) -> AbstractContextManager[Mesh]:
    """Run a mesh that writes nothing down: what the log costs is the difference. Raises `BenchmarkError`."""
    return _mesh(directory, FORGETFUL_MESH, {"CONTEXT_STORE": "memory:"})


def keyed_mesh(directory: Path, keys: Sequence[str]) -> AbstractContextManager[Mesh]:
    """Run a mesh that asks for one of these keys. Raises `BenchmarkError`."""
    return _mesh(directory, MESH, {"FACADE_API_KEYS": ",".join(keys)})


@contextmanager
def _mesh(directory: Path, name: str, settings: Mapping[str, str]) -> Iterator[Mesh]:
    """Run a mesh in the foreground: a detached one would outlive a run that is ended while it starts."""
    data, log = directory / name, directory / f"{name}.log"
    command = [sys.executable, "-m", "threadmesh.cli", "up", "--data-dir", str(data)]
    environment = {**os.environ, **_free_ports(), **settings}
    with started(command, log=log, environment=environment, directory=Path.cwd()) as process:
        await_serving(name, process, lambda: _serves(data), log=log)
        state = read_state(data)
        if state is None:
            raise BenchmarkError("the mesh has ended at once")
        yield _contestant(state, name, settings)


def _serves(data: Path) -> bool:
    state = read_state(data)
    facade = state.unit("facade") if state else None
    return facade is not None and answers(f"http://{facade.address}/readyz")


def _contestant(state: MeshState, name: str, settings: Mapping[str, str]) -> Mesh:
    inference, facade = _unit(state, "inference"), _unit(state, "facade")
    return Mesh(
        name=name,
        endpoint=Endpoint.parse(facade.address),
        root=state.supervisor.pid,
        engine=_pid(inference),
        settings=f"`threadmesh up` with {_chosen(settings)}; full length by `ignore_eos`",
        full_length={"ignore_eos": True},
        inference=inference.address,
        metrics=Endpoint.parse(inference.metrics_url.removeprefix("http://").partition("/")[0]),
        units={unit.name: _pid(unit) for unit in state.units},
    )


def _unit(state: MeshState, name: str) -> UnitState:
    unit = state.unit(name)
    if unit is None:
        raise BenchmarkError(f"the mesh has no unit {name}")
    return unit


def _pid(unit: UnitState) -> int:
    if unit.process is None:
        raise BenchmarkError(f"{unit.name} is down")
    return unit.process.pid


def _free_ports() -> dict[str, str]:
    ports = {f"{unit.prefix}PORT": "0" for unit in UNITS}
    return ports | {f"{unit.prefix}METRICS_PORT": "0" for unit in UNITS if unit.metrics_port is not None}


def _chosen(settings: Mapping[str, str]) -> str:
    """Say which settings are changed, by the environment or for this mesh."""
    prefixes = tuple(unit.prefix for unit in UNITS)
    known = sorted({**os.environ, **settings}.items())
    chosen = [f"{name}={value}" for name, value in known if name.startswith(prefixes)]
    return " ".join(chosen) or "its defaults"
