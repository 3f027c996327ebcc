"""Where the peers are built, and how a step of that is run."""

import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.failures import BenchmarkError

PEERS = Path(__file__).parents[2] / ".build" / "peers"
VERSION = metadata.version("llama_cpp_python")
"""The version of llama-cpp-python that the mesh uses; its peers are built from the same one."""


def step(title: str, command: Sequence[str | Path]) -> None:
    """Run one step of a build, its output going to a log. Raises `BenchmarkError` naming the log."""
    print(f"{title} ...", file=sys.stderr, flush=True)
    PEERS.mkdir(parents=True, exist_ok=True)
    log = PEERS / "build.log"
    with log.open("ab") as output:
        try:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        except FileNotFoundError as error:
            raise BenchmarkError(f"{title}: {error.filename} is not installed") from error
    if done.returncode:
        raise BenchmarkError(f"{title}: it failed; see {log}")
