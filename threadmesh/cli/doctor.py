"""`threadmesh doctor`: says what is wrong and how to mend it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from threadmesh.cli import checks
from threadmesh.cli.checks import Finding, Level
from threadmesh.cli.health import Condition
from threadmesh.cli.link_status import check_certificate, check_exposure, check_links
from threadmesh.cli.locate import Located, locate
from threadmesh.cli.output import print_json, stdout
from threadmesh.cli.plan import Plan, endpoints
from threadmesh.cli.ports import Endpoint, describe, is_busy
from threadmesh.cli.state import read_state
from threadmesh.cli.status import MeshStatus, mesh_status
from threadmesh.cli.units import UNITS, Probe
from threadmesh.cli.up import Wishes, planned
from threadmesh.settings import ConfigurationError

_MARKS = {Level.OK: "[green]✓[/]", Level.WARNING: "[yellow]![/]", Level.BROKEN: "[red]✗[/]"}


async def examine(wishes: Wishes) -> list[Finding]:
    """Make every check of the mesh that `threadmesh up` with these wishes would start."""
    try:
        plan, _ = planned(wishes)
        ports = check_ports(plan)
    except ConfigurationError as error:
        return [
            checks.check_python(),
            Finding(check="configuration", level=Level.BROKEN, message=error.message, remedy="correct it"),
        ]
    findings = [checks.check_python(), *_installation(), *_storage(plan), *_machine(plan), *_links(plan), ports]
    located = locate(data_dir=plan.data_directory, required=False)
    if located.state:
        status = await mesh_status(located)
        findings += [*check_mesh(status, located), *check_links(status.links)]
    return findings


def mendable(findings: list[Finding]) -> bool:
    """Say whether something must be mended."""
    return any(finding.level is Level.BROKEN for finding in findings)


def show(findings: list[Finding], *, as_json: bool) -> None:
    """Write the findings."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    console = stdout()
    for finding in findings:
        console.print(_MARKS[finding.level], end=" ")
        console.print(f"{finding.check}: {finding.message}", markup=False)
        if finding.remedy:
            console.print(f"  → {finding.remedy}", style="bold", markup=False)


def check_ports(plan: Plan) -> Finding:
    """The ports are free, or this mesh's own."""
    if read_state(plan.data_directory):
        return Finding(check="ports", level=Level.OK, message="the mesh is running on them")
    busy = [endpoint for endpoint in endpoints(plan) if is_busy(endpoint)]
    if not busy:
        numbers = ", ".join(str(endpoint.port) for endpoint in endpoints(plan))
        return Finding(check="ports", level=Level.OK, message=f"{numbers} are free")
    return Finding(check="ports", level=Level.BROKEN, message=_taken(busy), remedy="see above, then `threadmesh up`")


def check_mesh(status: MeshStatus, located: Located) -> Iterator[Finding]:
    """Every unit of a running mesh serves, and so does every tool server; what each model computes with."""
    for unit in status.units:
        if unit.state == Condition.SERVING:
            yield Finding(check=unit.name, level=Level.OK, message=f"serves at {unit.address}")
            continue
        on_file = located.state.unit(unit.name) if located.state else None
        remedy = f"see {on_file.log}" if on_file else "see its log"
        message = f"{unit.state} at {unit.address}{f': {unit.detail}' if unit.detail else ''}"
        yield Finding(check=unit.name, level=Level.BROKEN, message=message, remedy=remedy)
    for model, details in (status.model_details or {}).items():
        if details:
            shown = ", ".join(f"{name}={value}" for name, value in sorted(details.items()))
            yield Finding(check=f"model {model}", level=Level.OK, message=f"computes with {shown}")
    for server in status.tool_servers or ():
        check = f"tool server {server.name}"
        if server.state == "ready":
            yield Finding(check=check, level=Level.OK, message=f"{server.tools} tools")
        else:
            message = f"{server.state}{f': {server.detail}' if server.detail else ''}"
            remedy = "check its command in the servers file and the log of tools"
            yield Finding(check=check, level=Level.WARNING, message=message, remedy=remedy)


def _installation() -> Iterator[Finding]:
    for unit, modules in checks.PACKAGES.items():
        yield checks.check_packages(unit, modules)


def _storage(plan: Plan) -> Iterator[Finding]:
    yield checks.check_writable(plan.data_directory)
    yield checks.check_space(plan.data_directory)
    yield checks.check_lasting(plan.data_directory, mounts=Path("/proc/mounts").read_text("utf-8"))


def _machine(plan: Plan) -> Iterator[Finding]:
    environment = plan.programs[0].environment
    models_dir = Path(environment.get("INFERENCE_MODELS_DIR") or plan.data_directory / "models")
    bundled = checks.bundled_model()
    several = environment.get("INFERENCE_MODELS_FILE", "")
    if several:
        yield checks.check_models_file(Path(several))
    else:
        yield checks.check_model(plan.model, bundled=bundled, models_dir=models_dir)
    yield checks.check_cores(_threads(environment), cores=len(os.sched_getaffinity(0)))
    model_bytes = None if several else _model_bytes(plan.model, bundled)
    yield checks.check_memory(model_bytes, available_bytes=_available_bytes())


def _links(plan: Plan) -> Iterator[Finding]:
    environment = plan.programs[0].environment
    for unit in UNITS:
        path = environment.get(f"{unit.prefix}LINK_CERTIFICATE")
        if path and (plan.certificates is None or Path(path).exists()):  # `up --mtls` makes those that are missing
            yield check_certificate(unit.name, Path(path))
        insecure = environment.get(f"{unit.prefix}LINK_INSECURE", "").lower() in {"1", "true", "yes", "on"}
        listen = environment.get(f"{unit.prefix}LISTEN", "127.0.0.1") if unit.probe is Probe.GRPC else "127.0.0.1"
        if finding := check_exposure(unit.name, listen, insecure=insecure):
            yield finding


def _taken(busy: list[Endpoint]) -> str:
    return "; ".join(map(describe, busy))


def _threads(environment: Mapping[str, str]) -> int | None:
    stated = environment.get("INFERENCE_THREADS", "")
    return int(stated) or None if stated.isdecimal() else None


def _model_bytes(reference: str, bundled: Path | None) -> int | None:
    path = Path(reference) if reference else bundled
    return path.stat().st_size if path and path.is_file() else None


def _available_bytes() -> int:
    """Give what the kernel could hand out without swapping."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
