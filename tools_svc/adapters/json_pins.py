"""Pins in a JSON file, which a person can read and compare."""

import asyncio
import os
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError
from tools_svc.domain.pin import Pin

_VERSION = 2


class _Pin(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)

    server: str
    tool: str
    definition_hash: str
    definition_json: str
    pinned_at: AwareDatetime
    approved: bool = False


class _Version(BaseModel):
    version: int


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1, 2] = 2
    pins: list[_Pin]


class JsonPins:
    """A `PinStore` in one file, which belongs to one process at a time.

    Every change replaces the file as a whole, in a thread: a slow disk holds up who changes pins and nobody else.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one; raises `ConfigurationError` for one that cannot be read or understood."""
        self._path = path
        self._writing = Lock()
        self._pins = {(pin.server, pin.tool): pin for pin in _read(path)}

    def pins(self) -> Collection[Pin]:
        """Give what is kept."""
        return tuple(self._pins.values())

    async def keep(self, pins: Collection[Pin]) -> None:
        """Keep these; raises `StoreUnavailable`. Who is cancelled meanwhile has them kept all the same."""
        await asyncio.to_thread(self._keep, pins)

    def _keep(self, pins: Collection[Pin]) -> None:
        with self._writing:
            after = self._pins | {(pin.server, pin.tool): pin for pin in pins}
            try:
                _write(self._path, [after[key] for key in sorted(after)])
            except OSError as error:
                problem = f"({error.strerror or error})"
                message = f"The pinned definitions cannot be written to {self._path} {problem}."
                raise StoreUnavailable(message) from error
            self._pins = after


def _read(path: Path) -> list[Pin]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"{path}: it cannot be read ({error.strerror or error})") from error
    try:
        version = _Version.model_validate_json(content).version
        if version > _VERSION:
            raise ConfigurationError(f"{path}: a newer threadmesh wrote it (version {version}); run that one")
        file = _File.model_validate_json(content)
    except ValidationError as error:
        raise ConfigurationError(
            f"{path}: it is damaged; restore it from a copy, or move it away to trust all tools as they are now"
        ) from error
    return [Pin(**each.model_dump()) for each in file.pins]


def _write(path: Path, pins: list[Pin]) -> None:
    file = _File(pins=[_Pin.model_validate(pin) for pin in pins])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as writing:
            writing.write(file.model_dump_json(indent=2) + "\n")
            writing.flush()
            os.fsync(writing.fileno())
        part.replace(path)
        _sync_directory(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make a rename in the directory outlive the machine."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
