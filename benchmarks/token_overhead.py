"""What a streamed token costs outside of the model: CPU of each unit, with a scripted backend in the model's place.

`python -m benchmarks.token_overhead` starts the four units as processes, streams answers over HTTP, and reads the CPU
time (user and system) that each process used from /proc. Tokens come `paced`, those of all streams together every so
many milliseconds as from an engine that decodes them in one batch, and `unpaced`, as fast as the mesh takes them.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from socket import socket
from statistics import mean, quantiles
from time import perf_counter

from benchmarks.machine import hop_microseconds

UNITS = ("inference", "tools", "context", "facade")
_MODULES = {"inference": "inference_svc", "tools": "tools_svc", "context": "context_svc", "facade": "facade"}
_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Places in /proc/<pid>/stat, counted behind the command's closing bracket (proc_pid_stat(5))."""
_START_SECONDS = 60.0
_IDLE_SECONDS = 10.0
_QUIET_MILLISECONDS = 40.0
"""CPU of all units in a second of which nobody asked anything."""
_WARM_TOKENS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Four running units: where the facade is, and the process of each."""

    port: int
    processes: Mapping[str, int]

    def cpu_seconds(self) -> dict[str, float]:
        """Give the CPU time that each unit has used so far."""
        return {unit: cpu_seconds(pid) for unit, pid in self.processes.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One answer as its client saw it: seconds to the first token, and between one token's arrival and the next's."""

    first: float
    gaps: Sequence[float]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: the answers, how long they took together, and the CPU seconds of each unit meanwhile."""

    streams: Sequence[Stream]
    seconds: float
    cpu: Mapping[str, float]

    @property
    def tokens(self) -> int:
        """The tokens that were streamed."""
        return sum(stream.tokens for stream in self.streams)

    def per_token(self, unit: str) -> float:
        """Give a unit's CPU microseconds for each token."""
        return 1e6 * self.cpu[unit] / self.tokens

    @property
    def total(self) -> float:
        """The CPU microseconds of all units for each token."""
        return sum(self.per_token(unit) for unit in UNITS)


def cpu_seconds(pid: int) -> float:
    """Give the CPU time that a process has used, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS


@contextmanager
def running(*, step_ms: float) -> Iterator[Mesh]:
    """Run the units until the block ends, with their state in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="token-overhead-") as name:
        directory = Path(name)
        ports = dict(zip(UNITS, _free_ports(len(UNITS)), strict=True))
        started = {unit: _start(unit, _environment(unit, directory, ports, step_ms), directory) for unit in UNITS}
        try:
            yield Mesh(port=ports["facade"], processes={unit: process.pid for unit, process in started.items()})
        finally:
            for process in started.values():
                process.send_signal(signal.SIGTERM)
            for process in started.values():
                process.wait(timeout=_START_SECONDS)


def _start(unit: str, environment: Mapping[str, str], directory: Path) -> "subprocess.Popen[bytes]":
    with (directory / f"{unit}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", _MODULES[unit]], env=environment, stdout=log, stderr=log)


def _environment(unit: str, directory: Path, ports: Mapping[str, int], step_ms: float) -> dict[str, str]:
    prefix = unit.upper()
    own = {f"{prefix}_PORT": str(ports[unit])}
    match unit:
        case "inference":
            script = directory / "script.json"
            script.write_text(json.dumps({"context_tokens": 1 << 20, "step_ms": step_ms}))
            own |= {"INFERENCE_MODEL": "none", "INFERENCE_SCRIPT": str(script)}
        case "tools":
            servers = directory / "servers.json"
            servers.write_text('{"mcpServers": {}}')
            own |= {"TOOLS_SERVERS_FILE": str(servers), "TOOLS_STATE_DIR": str(directory / "tools")}
        case "context":
            own |= {"CONTEXT_STORE": f"sqlite:{directory / 'context.db'}"}
        case _:
            own |= {f"FACADE_{other.upper()}_TARGET": f"127.0.0.1:{ports[other]}" for other in UNITS[:-1]}
            own |= {"FACADE_ANSWER_TOKENS": "0"}
    if unit != "facade":
        own[f"{prefix}_METRICS_PORT"] = "0"
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    return inherited | own


def _free_ports(count: int) -> list[int]:
    sockets = [socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


async def ready(mesh: Mesh) -> None:
    """Return when the facade says that it can answer."""
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                async with asked(
                    mesh, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                ) as reader:
                    if b" 200 " in await reader.readline():
                        return
            except OSError:
                pass
            await asyncio.sleep(0.1)


async def settled(mesh: Mesh) -> None:
    """Return when no unit is busy with its start any more."""
    async with asyncio.timeout(_START_SECONDS):
        while sum((await idle(mesh, seconds=1.0)).values()) > _QUIET_MILLISECONDS:
            pass


async def measured(mesh: Mesh, *, streams: int, tokens: int) -> Measured:
    """Stream so many answers of so many tokens each at once."""
    before, began = mesh.cpu_seconds(), perf_counter()
    answers = await asyncio.gather(*(_stream(mesh, tokens, number) for number in range(streams)))
    seconds, after = perf_counter() - began, mesh.cpu_seconds()
    return Measured(streams=answers, seconds=seconds, cpu={unit: after[unit] - before[unit] for unit in UNITS})


async def _stream(mesh: Mesh, tokens: int, number: int) -> Stream:
    words = " ".join(f"word{place % 100}" for place in range(tokens))
    body = json.dumps(
        {
            "model": "scripted",
            "stream": True,
            "messages": [{"role": "user", "content": f"stream{number} {words}"}],
            "max_tokens": tokens,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    sent, arrivals, end = perf_counter(), [], b""
    async with asked(mesh, head.encode() + body) as reader:
        while piece := await reader.read(1 << 16):
            if b'"content":"' in piece.replace(b'"content":""', b""):
                arrivals.append(perf_counter())
            end = (end + piece)[-2048:]
    if b"[DONE]" not in end:
        raise RuntimeError(f"an answer broke off: {end!r}")
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    said = int(end.rpartition(b'"completion_tokens":')[2].partition(b",")[0].strip())
    return Stream(first=arrivals[0] - sent, gaps=gaps, tokens=said)


@asynccontextmanager
async def asked(mesh: Mesh, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
    try:
        writer.write(request)
        yield reader
    finally:
        writer.close()


async def idle(mesh: Mesh, *, seconds: float = _IDLE_SECONDS) -> dict[str, float]:
    """Give the CPU milliseconds that each unit uses a second while nobody asks anything."""
    before = mesh.cpu_seconds()
    await asyncio.sleep(seconds)
    after = mesh.cpu_seconds()
    return {unit: 1e3 * (after[unit] - before[unit]) / seconds for unit in UNITS}


def report(name: str, found: Measured) -> str:
    """Write one run as a line."""
    units = "  ".join(f"{unit} {found.per_token(unit):6.0f}" for unit in UNITS)
    first = 1e3 * max(stream.first for stream in found.streams)
    gaps = [1e3 * gap for stream in found.streams for gap in stream.gaps] or [0.0]
    spread = quantiles(gaps * 2, n=100)
    return (
        f"{name:8} {found.tokens / found.seconds:6.0f} tok/s | µs/token: {units}  total {found.total:6.0f} | "
        f"first token {first:5.0f} ms, gaps mean {mean(gaps):.1f} p50 {spread[49]:.1f} p99 {spread[98]:.1f} ms"
    )


async def run(asked: Namespace) -> None:
    """Measure and print."""
    for name, step_ms in (("paced", asked.step_ms), ("unpaced", 0.0)):
        if name not in asked.pace:
            continue
        with running(step_ms=step_ms) as mesh:
            await ready(mesh)
            await measured(mesh, streams=asked.streams, tokens=_WARM_TOKENS)
            await settled(mesh)
            if asked.idle:
                used = await idle(mesh)
                print("idle     " + "  ".join(f"{unit} {used[unit]:.1f}" for unit in UNITS) + " ms of CPU a second")
            for _ in range(asked.rounds):
                print(report(name, await measured(mesh, streams=asked.streams, tokens=asked.tokens)), flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.token_overhead", description=__doc__)
    parser.add_argument("--streams", type=int, default=8, help="answers streamed at once")
    parser.add_argument("--tokens", type=int, default=400, help="tokens of each answer")
    parser.add_argument("--step-ms", type=float, default=60.0, help="time between the tokens of a paced answer")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--idle", action="store_true", help="measure also what the units use while nobody asks")
    parser.add_argument("--pace", nargs="*", default=["paced", "unpaced"], help="paced, unpaced or both")
    asked = parser.parse_args()
    print(f"a byte to another process takes {hop_microseconds():.1f} µs here", flush=True)
    asyncio.run(run(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
