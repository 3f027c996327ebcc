"""llama.cpp's own programs, built from the source that the installed llama-cpp-python was built from.

The sdist on PyPI holds that source and the commit it is. The options that decide how fast ggml is are left at their
defaults, as in the wheel; only what the programs need nothing of is switched off.
"""

import os
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.peers.places import PEERS, VERSION, step

_SOURCE = PEERS / f"llama_cpp_python-{VERSION}"
_LLAMA_CPP = _SOURCE / "vendor" / "llama.cpp"
_BUILD = PEERS / f"llama.cpp-{VERSION}"
_COMMIT = _SOURCE / ".git" / "modules" / "vendor" / "llama.cpp" / "HEAD"
_PROGRAMS = ("llama-server", "llama-batched-bench")
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
}
_TELLING = ("CMAKE_BUILD_TYPE", "GGML_NATIVE", "GGML_OPENMP", "GGML_LLAMAFILE", "GGML_CPU_REPACK", "GGML_BLAS")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCpp:
    """The built programs, the commit of llama.cpp, and the options that decide its speed."""

    server: Path
    batched_bench: Path
    commit: str
    options: str


def llama_cpp() -> LlamaCpp:
    """Give the programs, building what is missing: that takes some minutes. Raises `BenchmarkError`."""
    server, batched_bench = (_BUILD / "bin" / name for name in _PROGRAMS)
    if not (server.exists() and batched_bench.exists()):
        _unpack()
        _compile()
    return LlamaCpp(server=server, batched_bench=batched_bench, commit=_commit(), options=_options())


def _unpack() -> None:
    if _SOURCE.exists():
        return
    PEERS.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=PEERS) as directory:
        requirement = f"llama-cpp-python=={VERSION}"
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python"]
        step("Fetching the source of llama.cpp", [*pip, "--dest", directory, requirement])
        [archive] = Path(directory).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(directory, filter="data")
        (Path(directory) / _SOURCE.name).replace(_SOURCE)


def _compile() -> None:
    defined = {**OPTIONS, "LLAMA_BUILD_COMMIT": _commit()[:9], "LLAMA_BUILD_NUMBER": "0"}
    options = [f"-D{name}={value}" for name, value in defined.items()]
    step("Configuring llama.cpp", ["cmake", "-S", _LLAMA_CPP, "-B", _BUILD, *options])
    jobs = str(len(os.sched_getaffinity(0)))
    build: list[str | Path] = ["cmake", "--build", _BUILD, "--parallel", jobs, "--target", *_PROGRAMS]
    step("Compiling llama-server and llama-batched-bench; this takes some minutes", build)


def _commit() -> str:
    return _COMMIT.read_text("ascii").strip()


def _options() -> str:
    """Give what CMake settled on."""
    lines = (_BUILD / "CMakeCache.txt").read_text("utf-8").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", "//")))
    settled = {name.split(":")[0]: value for name, value in found.items()}
    return " ".join(f"{name}={settled[name]}" for name in _TELLING if name in settled)
