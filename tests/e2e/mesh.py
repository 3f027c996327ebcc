"""The mesh as a user has it: `threadmesh up` in a directory of its own, with the bundled model, at free ports."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

BIN = Path(sys.executable).parent
KEY = "a-key-of-the-tests"
MODEL = "smollm2-135m-instruct"
SECONDS = 120.0
"""How long a busy machine may take for any one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A mesh whose state is in `directory`; `ports` are those of each unit."""

    directory: Path
    ports: Mapping[str, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['facade']}"

    def openai(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=SECONDS)

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=SECONDS)

    def cli(self, *arguments: str, status: int = 0) -> str:
        """Run the command line on this mesh; gives what it printed."""
        environment = {
            "PATH": os.environ["PATH"],
            "THREADMESH_DATA_DIR": str(self.directory),
            "THREADMESH_API_KEY": KEY,
        }
        command = [str(BIN / "threadmesh"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self) -> None:
        self.cli("up", "--detach", "--config", str(self.directory / "threadmesh.toml"))

    def grpcurl(self, unit: str, *arguments: str) -> str:
        """Run grpcurl; the last arguments follow the address."""
        *options, what = arguments
        command = [str(BIN / "grpcurl"), "-plaintext", *options, f"127.0.0.1:{self.ports[unit]}", *what.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, unit: str) -> Iterator[dict[str, Any]]:
        """Give the lines of a unit's log."""
        for line in (self.directory / "logs" / f"{unit}.log").read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def metric(self, unit: str, name: str) -> float:
        """Add up a metric's series as the unit shows them."""
        port = self.ports["facade"] if unit == "facade" else self.ports[f"{unit}_metrics"]
        page = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS).text
        values = [
            float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))
        ]
        return sum(values)

    def status(self) -> dict[str, Any]:
        """Give `threadmesh status` whatever it says."""
        found: dict[str, Any] = json.loads(self._run("status", "--json").stdout)
        return found

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        own = {"THREADMESH_DATA_DIR": str(self.directory), "THREADMESH_API_KEY": KEY}
        return subprocess.run(
            [str(BIN / "threadmesh"), *arguments],
            env={"PATH": os.environ["PATH"], **own},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


def configured(directory: Path) -> Mesh:
    """Write the configuration of a mesh at free ports."""
    names = ["facade", "inference", "tools", "context"]
    ports = dict(zip([*names, *(f"{name}_metrics" for name in names[1:])], free_ports(7), strict=True))
    lines = [f'[facade]\nport = {ports["facade"]}\napi_keys = "{KEY}"\norchestrator_fields = true\n']
    lines += [f"[{name}]\nport = {ports[name]}\nmetrics_port = {ports[f'{name}_metrics']}\n" for name in names[1:]]
    (directory / "threadmesh.toml").write_text("\n".join(lines))
    return Mesh(directory=directory, ports=ports)


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on, below those that the system gives to connections."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def eventually(found: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and give it; fails when it never is."""
    ends = time.monotonic() + SECONDS
    while not (answer := found()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)
    return answer
