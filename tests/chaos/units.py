"""A mesh of processes that can be killed one by one: scripted models, a tool server with a ledger, any store."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx2

from tests.e2e.mesh import free_ports
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.crash_points import VARIABLE
from threadmesh.ports import is_listened_on

HERE = Path(__file__).parent
SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Unit:
    """A process of the mesh, which can be started again at its port."""

    name: str
    module: str
    environment: Mapping[str, str]
    port: int
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, crash: str = "") -> None:
        """Start the process and wait until it listens; with `crash` it breaks at that point."""
        self.end()
        environment = {**os.environ, **self.environment, VARIABLE: crash}
        with self.log.open("a") as log:
            process = subprocess.Popen([sys.executable, "-m", self.module], env=environment, stderr=log)
        self.process = process
        ends = time.monotonic() + SECONDS
        while not is_listened_on(self.port):
            assert process.poll() is None, f"{self.name} did not start:\n{self.log.read_text()[-2000:]}"
            assert time.monotonic() < ends, f"{self.name} does not listen"
            time.sleep(0.02)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self, number: signal.Signals = signal.SIGKILL) -> int | None:
        """Send the process a signal and wait for its end; gives its status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
            if number is signal.SIGKILL:
                self.process.send_signal(signal.SIGCONT)
        status = self.process.wait(SECONDS)
        self.process = None
        return status


@dataclass(slots=True, kw_only=True)
class Units:
    """The processes of a mesh by their names, and where its tools leave their lines."""

    directory: Path
    units: dict[str, Unit] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def url(self, facade: str = "facade") -> str:
        return f"http://127.0.0.1:{self.ports[facade]}"

    def target(self, unit: str) -> str:
        return f"127.0.0.1:{self.ports[unit]}"

    def tools_are_ready(self) -> None:
        """Return once the ledger's tool can be called."""
        ends = time.monotonic() + SECONDS
        with grpc.insecure_channel(self.target("tools")) as channel:
            stub = ToolsServiceStub(channel)
            while not stub.ListTools(tools.ListToolsRequest(), wait_for_ready=True, timeout=SECONDS).tools:
                assert time.monotonic() < ends
                time.sleep(0.02)

    def models_are_ready(self) -> None:
        """Return once the facade can answer."""
        ends = time.monotonic() + SECONDS
        while httpx2.get(f"{self.url()}/readyz", timeout=SECONDS).status_code != 200:
            assert time.monotonic() < ends
            time.sleep(0.05)

    def done(self) -> list[str]:
        """Give the lines of the ledger: what tools have done."""
        ledger = self.directory / "ledger"
        return ledger.read_text().split() if ledger.exists() else []

    def words(self) -> list[tuple[str, ...]]:
        """Give what servers that ask have done, each with the word that they were answered."""
        words = self.directory / "words"
        return [tuple(line.split("=", 1)) for line in words.read_text().split()] if words.exists() else []

    def __getitem__(self, name: str) -> Unit:
        return self.units[name]


@contextmanager
def mesh_of_units(directory: Path, *, store: str = "", scripted: bool = True, replica: bool = False) -> Iterator[Units]:
    """Run context, inference, tools and two facades, `facade` and `other`, until the block ends.

    Models are `scripted`, or the bundled one answers. With a `replica` there are two of inference.
    """
    names = ("context", "inference", *(("replica",) if replica else ()), "tools", "facade", "other")
    ports = dict(zip((*names, *(f"{each}_metrics" for each in names)), free_ports(2 * len(names)), strict=True))
    servers = directory / "servers.json"
    server = {"command": sys.executable, "args": [str(HERE / "ledger_server.py"), str(directory / "ledger")]}
    servers.write_text(json.dumps({"mcpServers": {"ledger": server}}))
    units = Units(directory=directory, ports=ports)
    targets = {f"FACADE_{each.upper()}_TARGET": units.target(each) for each in ("context", "inference", "tools")}
    if replica:
        targets["FACADE_INFERENCE_TARGET"] = f"ipv4:{units.target('inference')},{units.target('replica')}"
    chosen: dict[str, tuple[str, dict[str, str]]] = {
        "context": ("context_svc", {"CONTEXT_STORE": store or f"sqlite:{directory / 'context.db'}"}),
        "inference": (
            "inference_svc",
            {
                "INFERENCE_MODEL": "none" if scripted else "",
                "INFERENCE_SCRIPT": str(HERE / "script.json") if scripted else "",
                "INFERENCE_STATE_DIR": str(directory / "inference"),
            },
        ),
        "tools": ("tools_svc", {"TOOLS_SERVERS_FILE": str(servers), "TOOLS_STATE_DIR": str(directory / "tools")}),
        "facade": ("facade", targets),
        "other": ("facade", targets),
    }
    if replica:
        module, environment = chosen["inference"]
        chosen["replica"] = module, environment | {"INFERENCE_STATE_DIR": str(directory / "replica")}
    for name in names:
        module, environment = chosen[name]
        prefix = module.removesuffix("_svc").upper()
        listening = {f"{prefix}_PORT": str(ports[name])}
        if name not in ("facade", "other"):
            listening[f"{prefix}_METRICS_PORT"] = str(ports[f"{name}_metrics"])
        units.units[name] = Unit(
            name=name,
            module=module,
            environment=environment | listening,
            port=ports[name],
            log=directory / f"{name}.log",
        )
    try:
        for unit in units.units.values():
            unit.start()
        yield units
    finally:
        for unit in reversed(units.units.values()):
            unit.end()


@contextmanager
def supervised(victim: Unit, *, restart: bool) -> Iterator[list[float]]:
    """Watch over a process until the block ends, and start it again at once if that is wanted, else at the end.

    Gives the times of its deaths.
    """
    deaths: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if not victim.alive and len(deaths) == 0:
                deaths.append(time.monotonic())
                if restart:
                    victim.start()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield deaths
    finally:
        over.set()
        watcher.join()
        if not victim.alive:
            deaths.append(time.monotonic())
            victim.start()
