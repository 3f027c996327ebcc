"""Where the mesh is: what the command line says, else the environment, else the state file, else the usual ports."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threadmesh.cli.exits import NotRunning
from threadmesh.cli.state import MeshState, read_state
from threadmesh.cli.targets import Target, own_link
from threadmesh.cli.units import FACADE, UNITS
from threadmesh.settings import data_directory

_ADDRESSES = (
    "THREADMESH_URL",
    *(f"FACADE_{unit.name.upper()}_TARGET" for unit in UNITS),
    *(f"{unit.name.upper()}_PORT" for unit in UNITS),
)
"""The variables that say where a unit is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The addresses of the units by name, the API's URL and key, and the mesh's state where it is on file.

    `absent`: a data directory was named, no mesh runs on it, and nothing else says where one would be.
    """

    addresses: Mapping[str, Target]
    url: str
    key: str
    state: MeshState | None
    absent: bool = False


def locate(
    *,
    data_dir: Path | None = None,
    url: str = "",
    target: str = "",
    environment: Mapping[str, str] = os.environ,
    required: bool = True,
) -> Located:
    """Find the mesh; `url` and `target` (of whichever unit the command talks to) go before everything else.

    Raises `NotRunning` where it is `absent`, unless that is not `required` to be otherwise.
    """
    state = read_state((data_dir or data_directory(environment)).expanduser())
    named = data_dir is not None or bool(environment.get("THREADMESH_DATA_DIR"))
    absent = named and not (state or url or target or any(environment.get(name) for name in _ADDRESSES))
    if absent and required:
        raise NotRunning
    link = own_link(environment, state.certificates if state else None)
    addresses = {
        unit.name: Target(target or _address(unit.name, unit.port, state, environment), link=link, peer=unit.name)
        for unit in UNITS
    }
    return Located(
        addresses=addresses,
        url=(url or environment.get("THREADMESH_URL") or _url(state, environment)).rstrip("/"),
        key=environment.get("THREADMESH_API_KEY") or environment.get("FACADE_API_KEYS", "").split(",")[0].strip(),
        state=state,
        absent=absent,
    )


def _address(name: str, port: int, state: MeshState | None, environment: Mapping[str, str]) -> str:
    if target := environment.get(f"FACADE_{name.upper()}_TARGET"):
        return target
    unit = state.unit(name) if state else None
    return unit.address if unit else f"127.0.0.1:{_port(name, port, environment)}"


def _url(state: MeshState | None, environment: Mapping[str, str]) -> str:
    facade = state.unit("facade") if state else None
    return f"http://{facade.address if facade else f'127.0.0.1:{_port(FACADE.name, FACADE.port, environment)}'}"


def _port(name: str, usual: int, environment: Mapping[str, str]) -> str:
    stated = environment.get(f"{name.upper()}_PORT", "")
    return stated if stated not in {"", "0"} else str(usual)
