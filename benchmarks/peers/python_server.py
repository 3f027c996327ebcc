"""llama-cpp-python's own server, in a virtual environment of its own: it needs packages that the mesh does not.

pip takes llama-cpp-python from its cache of built wheels, where the mesh's installation left it.
"""

import sys
from pathlib import Path

from benchmarks.peers.places import PEERS, VERSION, step

_VENV = PEERS / "python-server"
_PINS = Path(__file__).with_name("python_server.txt")
_STAMP = _VENV / ".installed"


def python_server() -> Path:
    """Give the Python that can run `-m llama_cpp.server`, installing it if it is missing. Raises `BenchmarkError`."""
    python = _VENV / "bin" / "python"
    wanted = f"llama-cpp-python=={VERSION}\n{_PINS.read_text('utf-8')}"
    if not _STAMP.exists() or _STAMP.read_text("utf-8") != wanted:
        step("Making a virtual environment", [sys.executable, "-m", "venv", "--clear", _VENV])
        pip: list[str | Path] = [python, "-m", "pip", "install", "--no-deps", "--progress-bar", "off"]
        packages: list[str | Path] = ["--requirement", _PINS, f"llama-cpp-python[server]=={VERSION}"]
        step("Installing llama-cpp-python's server", [*pip, *packages])
        _STAMP.write_text(wanted, "utf-8")
    return python
