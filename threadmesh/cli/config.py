"""`threadmesh.toml`: one file for the whole mesh, turned into the environment variables that the units read.

    [mesh]
    data_dir = "/srv/threadmesh"

    [inference]
    model = "/models/qwen.gguf"      # INFERENCE_MODEL

    [tools.retry]
    attempts = 3                     # TOOLS_RETRY__ATTEMPTS

Which keys a unit knows, only the unit knows: it refuses the others at its start, and `explain` finds their lines.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from threadmesh.cli.units import UNITS
from threadmesh.settings import ConfigurationError
from threadmesh.toml_lines import line_of, line_of_error

STOP_SECONDS = 15.0
"""Time that each unit gets to end after SIGTERM before it is killed."""

_PREFIXES = {unit.name: unit.prefix for unit in UNITS}
_MESH_KEYS: dict[str, tuple[type, ...]] = {
    "data_dir": (str,),
    "log_level": (str,),
    "stop_seconds": (int, float),
    "mtls": (bool,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a file says: the units' `environment`, where each variable stands (`origins`), and the mesh's own keys."""

    environment: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    data_directory: Path | None = None
    stop_seconds: float = STOP_SECONDS
    mtls: bool = False

    def explain(self, message: str) -> str:
        """Put the place in the file before each complaint about a variable that the file set."""
        lines = message.splitlines()
        return "; ".join(self._placed(line) for line in lines)

    def _placed(self, line: str) -> str:
        named = re.findall(r"\b[A-Z][A-Z0-9_]+\b", line)
        places = [self.origins[name] for name in named if name in self.origins]
        return f"{places[0]}: {line}" if places else line


def read_configuration(path: Path | None) -> Configuration:
    """Read a `threadmesh.toml`; without a path, nothing is configured.

    Raises `ConfigurationError` with `file:line: key: reason` for what is wrong with the file itself.
    """
    if path is None:
        return Configuration()
    try:
        text = path.read_text("utf-8")
        return parse_configuration(text, path=path)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}{line_of_error(error)}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: it cannot be read ({_cause(error)}); name another by --config") from error


def parse_configuration(text: str, *, path: Path) -> Configuration:
    """Read the text of a `threadmesh.toml`; relative paths in `[mesh]` begin at the file's directory."""
    document = tomllib.loads(text)
    for section, value in document.items():
        if section not in {*_PREFIXES, "mesh"}:
            raise _wrong(path, text, (section,), f"no such section; there are {', '.join((*_PREFIXES, 'mesh'))}")
        if not isinstance(value, dict):
            raise _wrong(path, text, (section,), "it must be a section such as [mesh]")
    mesh = document.get("mesh", {})
    _check_mesh(path, text, mesh)
    places = {
        name: (keys, value)
        for section, prefix in _PREFIXES.items()
        for name, keys, value in _variables(prefix, (section,), document.get(section, {}))
    }
    return Configuration(
        environment=_log_levels(mesh)
        | {name: _written(path, text, keys, value) for name, (keys, value) in places.items()},
        origins={name: _place(path, text, keys) for name, (keys, _) in places.items()},
        data_directory=path.parent / Path(mesh["data_dir"]).expanduser() if "data_dir" in mesh else None,
        stop_seconds=float(mesh.get("stop_seconds", STOP_SECONDS)),
        mtls=bool(mesh.get("mtls", False)),
    )


def _check_mesh(path: Path, text: str, mesh: Mapping[str, object]) -> None:
    for key, value in mesh.items():
        if key not in _MESH_KEYS:
            raise _wrong(path, text, ("mesh", key), f"no such key; there are {', '.join(_MESH_KEYS)}")
        if isinstance(value, bool) != (bool in _MESH_KEYS[key]) or not isinstance(value, _MESH_KEYS[key]):
            kind = {str: "a text", bool: "true or false"}.get(_MESH_KEYS[key][0], "a number")
            raise _wrong(path, text, ("mesh", key), f"it must be {kind}")


def _log_levels(mesh: Mapping[str, object]) -> dict[str, str]:
    return (
        {f"{prefix}LOG_LEVEL": str(mesh["log_level"]) for prefix in _PREFIXES.values()} if "log_level" in mesh else {}
    )


def _variables(
    prefix: str, keys: tuple[str, ...], table: Mapping[str, object]
) -> Iterator[tuple[str, tuple[str, ...], object]]:
    for key, value in table.items():
        name = prefix + key.upper()
        if isinstance(value, dict):
            yield from _variables(f"{name}__", (*keys, key), value)
        else:
            yield name, (*keys, key), value


def _written(path: Path, text: str, keys: tuple[str, ...], value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list() if all(isinstance(each, str) and "," not in each for each in value):
            return ",".join(value)
        case list():
            return json.dumps(value)
        case _:
            raise _wrong(path, text, keys, "a date or time is no setting; write a text")


def _wrong(path: Path, text: str, keys: tuple[str, ...], reason: str) -> ConfigurationError:
    return ConfigurationError(f"{_place(path, text, keys)}: {reason}")


def _place(path: Path, text: str, keys: tuple[str, ...]) -> str:
    line = line_of(text, keys)
    return f"{path}{f':{line}' if line else ''}: {'.'.join(keys)}"


def _cause(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
