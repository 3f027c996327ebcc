"""A server that is one process: started at a free port, awaited, stopped."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from benchmarks.failures import BenchmarkError
from benchmarks.load.http import Endpoint
from benchmarks.processes import resume
from threadmesh.cli.ports import free_port

HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 2.0

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, and the file that its output goes to."""

    endpoint: Endpoint
    pid: int
    log: Path


@contextmanager
def served(name: str, command: Sequence[str | Path], *, directory: Path, ready: str) -> Iterator[Server]:
    """Run a server whose command ends with `--host` and `--port`; it serves once the path `ready` answers.

    Its environment holds nothing by which somebody could have changed its defaults. Raises `BenchmarkError`.
    """
    endpoint = Endpoint(host=HOST, port=free_port(HOST))
    log = directory / f"{name}.log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    arguments = [*command, "--host", endpoint.host, "--port", str(endpoint.port)]
    with started(arguments, log=log, environment=environment, directory=directory) as process:
        await_serving(name, process, lambda: answers(f"http://{endpoint.host}:{endpoint.port}{ready}"), log=log)
        yield Server(endpoint=endpoint, pid=process.pid, log=log)


@contextmanager
def started(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str], directory: Path
) -> Iterator[Process]:
    """Run a command in a directory, its output going to a log; it is stopped at the end of the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=directory, env=environment) as process,
    ):
        try:
            yield process
        finally:
            _stop(process)


def await_serving(name: str, process: Process, serving: Callable[[], bool], *, log: Path) -> None:
    """Wait until a process serves. Raises `BenchmarkError` if it ends or takes too long."""
    ends = time.monotonic() + _START_SECONDS
    while not serving():
        if process.poll() is not None or time.monotonic() > ends:
            words = log.read_text("utf-8", errors="replace")[-500:]
            raise BenchmarkError(f"{name} does not serve: {words}")
        time.sleep(_POLL_SECONDS)


def answers(url: str) -> bool:
    """Say whether a GET of the URL succeeds."""
    try:
        with urlopen(url, timeout=_ANSWER_SECONDS):
            return True
    except OSError:
        return False


def _stop(process: Process) -> None:
    resume(process.pid)
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
