"""A server that is one process: started at a free port, awaited, stopped."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.failures import BenchmarkError
from benchmarks.load.http import Endpoint
from threadmesh.cli.ports import free_port

HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1


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
    with (
        log.open("wb") as output,
        subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, cwd=directory, env=environment) as process,
    ):
        try:
            _await(name, process, f"http://{endpoint.host}:{endpoint.port}{ready}", log)
            yield Server(endpoint=endpoint, pid=process.pid, log=log)
        finally:
            _stop(process)


def _await(name: str, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > ends:
            words = log.read_text("utf-8", errors="replace")[-500:]
            raise BenchmarkError(f"{name} does not serve: {words}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=_POLL_SECONDS * 10):
            return True
    except (URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
