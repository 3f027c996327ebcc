"""The keys file, in TOML, read strictly; `threadmesh keys` writes it, and a person may.

    [keys.8f14e45fceea]
    sha256 = "..."                       # of the whole key
    name = "discord bot"
    tenant = "home"                      # absent: the default tenant
    scopes = ["chat", "models.read"]     # absent: all
    created = 2026-01-02T03:04:05Z
    expires = 2027-01-02T03:04:05Z       # absent: never
    limits = { requests_per_minute = 60 }

Changes keep what else stands in the file, comments too.
"""

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, ValidationError

from threadmesh.errors import NotFound
from threadmesh.keys.key import ALL_SCOPES, TENANT, Key, KeyLimits, Scope
from threadmesh.keys.writing import alone, replace
from threadmesh.settings import ConfigurationError
from threadmesh.toml_lines import line_of_error, located, reason_of

FILE_NAME = "keys.toml"
"""Its name in the data directory."""
LONGEST_NAME = 100
_LARGEST_FILE = 4 * 1024 * 1024
_HEAD = "# API keys of threadmesh, without their secrets; docs/keys.md describes this file.\n"

Place = tuple[str, ...]
Limit = Annotated[int | None, Field(ge=0, le=2**53)]


class _Limits(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    tool_calls_per_minute: Limit = None
    concurrent_streams: Limit = None
    stored_bytes: Limit = None


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str = Field(default="", max_length=LONGEST_NAME)
    tenant: str = Field(default="", pattern=f"^({TENANT})?$")
    scopes: list[Annotated[Scope, Strict(strict=False)]] | None = None
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    limits: _Limits = _Limits()


class KeyNotFound(NotFound):
    """There is no such key in the file; `threadmesh keys list` shows those there are."""

    reason = "KEY_NOT_FOUND"


def read_keys(path: Path) -> dict[str, Key]:
    """Read the keys by their ids, in the order of the file.

    Raises `ConfigurationError` with a line `file:line: key: reason` for everything that is wrong in it.
    """
    return parse_keys(read_text(path), path)


def read_text(path: Path) -> str:
    """Read the file. Raises `ConfigurationError`."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(f"{path}:1: file: it cannot be read ({why})") from error
    if len(text) > _LARGEST_FILE:
        raise ConfigurationError(f"{path}:1: file: it is longer than {_LARGEST_FILE} characters")
    return text


def parse_keys(text: str, path: Path) -> dict[str, Key]:
    """Read the keys of a file's text; raises as `read_keys`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}{line_of_error(error) or ':1'}: file: {error}") from error
    if complaints := list(_complaints(document)):
        raise ConfigurationError("\n".join(f"{located(path, text, place)}: {why}" for place, why in complaints))
    return {key_id: _key(key_id, _Entry.model_validate(raw)) for key_id, raw in document.get("keys", {}).items()}


def add_key(path: Path, key: Key) -> None:
    """Write a key into the file, which is made if there is none. Raises `ConfigurationError`."""
    _change(path, lambda text: f"{text or _HEAD}\n{_table(key)}")


def revoke_key(path: Path, key_id: str, *, now: datetime) -> bool:
    """Let a key be valid no longer; False if it was not before. Raises `KeyNotFound` and `ConfigurationError`."""
    found = read_keys(path).get(key_id)
    if found is None:
        raise KeyNotFound(key=key_id)
    if found.revoked is not None:
        return False
    _change(path, lambda text: _revoked(text, key_id, now, path))
    return True


def _complaints(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    yield from (((key,), "no such key; there is [keys.<id>]") for key in document if key != "keys")
    keys = document.get("keys", {})
    if not isinstance(keys, dict):
        yield ("keys",), "it must hold tables [keys.<id>]"
        return
    for key_id, raw in keys.items():
        if len(key_id) != 12 or set(key_id) - set("0123456789abcdef"):
            yield ("keys", key_id), "an id is 12 hexadecimal digits, those of the key behind tm_"
        try:
            _Entry.model_validate(raw)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                yield ("keys", key_id, *map(str, each["loc"])), reason_of(each["type"], each["msg"])


def _key(key_id: str, entry: _Entry) -> Key:
    return Key(
        id=key_id,
        sha256=entry.sha256,
        name=entry.name,
        tenant=entry.tenant,
        scopes=ALL_SCOPES if entry.scopes is None else frozenset(entry.scopes),
        created=entry.created,
        expires=entry.expires,
        revoked=entry.revoked,
        limits=KeyLimits(**entry.limits.model_dump()),
    )


def _table(key: Key) -> str:
    limits = {name: value for name, value in asdict(key.limits).items() if value is not None}
    lines = {
        "sha256": _quoted(key.sha256),
        "name": _quoted(key.name) if key.name else "",
        "tenant": _quoted(key.tenant) if key.tenant else "",
        "scopes": "" if key.scopes == ALL_SCOPES else f"[{', '.join(map(_quoted, sorted(key.scopes)))}]",
        "created": _moment(key.created),
        "expires": _moment(key.expires) if key.expires else "",
        "revoked": _moment(key.revoked) if key.revoked else "",
        "limits": f"{{ {', '.join(f'{name} = {value}' for name, value in limits.items())} }}" if limits else "",
    }
    return f"[keys.{key.id}]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value)


def _revoked(text: str, key_id: str, now: datetime, path: Path) -> str:
    lines = text.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if line.split("#")[0].strip() == f"[keys.{key_id}]"]
    if len(headers) != 1:
        place = located(path, text, ("keys", key_id))
        raise ConfigurationError(f"{place}: it has no table of its own; write `revoked = {_moment(now)}` by hand")
    lines.insert(headers[0] + 1, f"revoked = {_moment(now)}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string of printable characters is a TOML string


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _change(path: Path, change: Callable[[str], str]) -> None:
    """Replace the file by what `change` makes of it, if that can be read; one process does so at a time."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(path.parent):
            text = change(read_text(path) if path.exists() else "")
            parse_keys(text, path)
            replace(path, text)
    except OSError as error:
        raise ConfigurationError(f"{path}:1: file: it cannot be written ({error.strerror})") from error
