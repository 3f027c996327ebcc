"""What `threadmesh up` will start: settings from everywhere, put together for each unit."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from threadmesh.cli.ports import Endpoint, free_port
from threadmesh.cli.targets import Target, files_in, own_link
from threadmesh.cli.units import UNITS, Probe, Unit
from threadmesh.keys.file import FILE_NAME
from threadmesh.links.link import PLAINTEXT, ClientLink
from threadmesh.settings import ConfigurationError

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared, not listened on


class Program(BaseModel):
    """One process to run: its command, its whole environment, its log, and where it will be found."""

    model_config = ConfigDict(frozen=True)

    unit: str
    command: tuple[str, ...]
    environment: dict[str, str]
    address: str
    metrics_url: str
    probe: Probe
    log: Path
    link: ClientLink = PLAINTEXT

    @property
    def target(self) -> Target:
        """Where it is asked whether it serves, and over which link."""
        return Target(self.address, link=self.link, peer=self.unit)


class Plan(BaseModel):
    """The programs in the order of their start, and what the mesh's supervisor needs besides."""

    model_config = ConfigDict(frozen=True)

    programs: tuple[Program, ...]
    data_directory: Path
    stop_seconds: float
    model: str
    needs_key: bool
    certificates: Path | None = None

    @property
    def url(self) -> str:
        """Where the API will be."""
        return next(f"http://{program.address}" for program in self.programs if program.probe is Probe.HTTP)

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.data_directory / "logs"


def make_plan(
    environment: Mapping[str, str],
    *,
    data_directory: Path,
    stop_seconds: float,
    units: Sequence[Unit] = UNITS,
    certificates: Path | None = None,
) -> Plan:
    """Plan the mesh that this environment describes; a port of 0 becomes a free one.

    Units that are told nothing else take theirs of the `certificates` in that directory. Raises `ConfigurationError`
    for a port that is no number.
    """
    settled = {**environment, "THREADMESH_DATA_DIR": str(data_directory)}
    for unit in units if certificates else ():
        settled = _secured(unit, certificates, settled)
    for unit in units:
        settled |= _ports(unit, settled)
    for unit in units:
        settled.setdefault(f"FACADE_{unit.name.upper()}_TARGET", _address(unit, settled))
    settled = {name: value for name, value in settled.items() if name != "FACADE_FACADE_TARGET"}
    return Plan(
        programs=tuple(
            _program(unit, settled, data_directory / "logs", link=own_link(settled, certificates)) for unit in units
        ),
        data_directory=data_directory,
        stop_seconds=stop_seconds,
        model=settled.get("INFERENCE_MODEL", ""),
        needs_key=_needs_key(settled, data_directory),
        certificates=certificates,
    )


def endpoints(plan: Plan, units: Sequence[Unit] = UNITS) -> list[Endpoint]:
    """Give every address that the plan's programs will listen on."""
    found = []
    for unit, program in zip(units, plan.programs, strict=True):
        host = program.environment.get(f"{unit.prefix}LISTEN", "127.0.0.1") or "0.0.0.0"  # noqa: S104  # as configured
        names = ["PORT"] if unit.metrics_port is None else ["PORT", "METRICS_PORT"]
        for variable in (unit.prefix + name for name in names):
            port = int(program.environment[variable])
            found.append(Endpoint(host=host, port=port, owner=unit.name, variable=variable))
    return found


def _needs_key(environment: Mapping[str, str], data_directory: Path) -> bool:
    named = environment.get("FACADE_API_KEYS") or environment.get("FACADE_KEYS_FILE")
    return bool(named) or (data_directory / FILE_NAME).exists()


def _ports(unit: Unit, environment: Mapping[str, str]) -> dict[str, str]:
    defaults = {f"{unit.prefix}PORT": unit.port}
    if unit.metrics_port is not None:
        defaults[f"{unit.prefix}METRICS_PORT"] = unit.metrics_port
    host = environment.get(f"{unit.prefix}LISTEN", "127.0.0.1")
    return {name: str(_port(name, environment.get(name, str(port)), host)) for name, port in defaults.items()}


def _port(variable: str, value: str, host: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise ConfigurationError(f"{variable}: {value!r} is no port; write a number from 0 to 65535")
    return int(value) or free_port(host)


def _secured(unit: Unit, certificates: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Add a unit's certificate to the environment, unless that says something about the unit's links itself."""
    if certificates is None or any(name.startswith(f"{unit.prefix}LINK_") for name in environment):
        return dict(environment)
    files = files_in(certificates, unit.name)
    names = {"CERTIFICATE": files.certificate, "KEY": files.key, "CA": files.authorities}
    return {**environment, **{f"{unit.prefix}LINK_{name}": str(path) for name, path in names.items()}}


def _program(unit: Unit, environment: Mapping[str, str], logs: Path, *, link: ClientLink) -> Program:
    address = _address(unit, environment)
    metrics = environment.get(f"{unit.prefix}METRICS_PORT") if unit.metrics_port is not None else None
    host = address.rpartition(":")[0]
    return Program(
        unit=unit.name,
        command=(sys.executable, "-m", unit.module),
        environment=dict(environment),
        address=address,
        metrics_url=f"http://{host}:{metrics}/metrics" if metrics else f"http://{address}/metrics",
        probe=unit.probe,
        log=logs / f"{unit.name}.log",
        link=link,
    )


def _address(unit: Unit, environment: Mapping[str, str]) -> str:
    listen = environment.get(f"{unit.prefix}LISTEN", "127.0.0.1")
    host = _EVERYWHERE.get(listen, f"[{listen}]" if ":" in listen else listen)
    return f"{host}:{environment[f'{unit.prefix}PORT']}"
