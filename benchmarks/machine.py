"""The machine that measures, and the software that is measured, described for the report."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from time import perf_counter

from benchmarks.peers.llama_cpp import LlamaCpp
from benchmarks.peers.places import VERSION

_FEATURES = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
_KIBIBYTE_PER_GIBIBYTE = 1024 * 1024


def machine() -> dict[str, str]:
    """Describe the machine; `load before` shows whether anybody else was at work on it."""
    return {
        "CPU": _line(Path("/proc/cpuinfo"), "model name"),
        "cores": f"{os.cpu_count()}, of them usable {len(os.sched_getaffinity(0))}",
        "memory": f"{int(_line(Path('/proc/meminfo'), 'MemTotal').split()[0]) / _KIBIBYTE_PER_GIBIBYTE:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)",
    }


def hop_microseconds(times: int = 5_000) -> float:
    """Give how long a byte takes to another process, which has to be woken for it.

    A streamed token makes several such hops, so what it costs compares only between machines that are alike in this.
    """
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as echo:
        assert echo.stdin is not None and echo.stdout is not None  # noqa: PT018  # both are pipes
        began = perf_counter()
        for _ in range(times):
            echo.stdin.write(b".")
            echo.stdout.read(1)
        took = perf_counter() - began
    return 1e6 * took / times / 2


def software(peers: LlamaCpp | None) -> dict[str, str]:
    """Describe what is measured; `peers` are llama.cpp's programs, where they take part."""
    described = {
        "threadmesh": metadata.version("threadmesh"),
        "llama-cpp-python": VERSION,
        "its llama.cpp": features(None),
    }
    if peers is None:
        return described
    same = "the same" if features(peers.server.parent) == described["its llama.cpp"] else "DIFFERENT"
    return described | {
        "llama.cpp commit": peers.commit,
        "llama-server's options": peers.options,
        "llama-server's llama.cpp": f"{same} features as llama-cpp-python's",
    }


def features(libraries: Path | None) -> str:
    """Give what a llama.cpp was compiled for: llama-cpp-python's, or the one whose libraries lie in a directory."""
    own: Mapping[str, str] = {} if libraries is None else {"LLAMA_CPP_LIB_PATH": str(libraries)}
    environment = {"PATH": os.environ["PATH"], **own}
    done = subprocess.run(
        [sys.executable, "-c", _FEATURES], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip(" |\n") or "unknown"


def _line(path: Path, name: str) -> str:
    lines = path.read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
