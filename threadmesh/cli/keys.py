"""`threadmesh keys`: the keys of the API, in a file that the facade reads."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from threadmesh.cli.output import one_line, print_json, print_table
from threadmesh.errors import InvalidArgument
from threadmesh.keys.file import FILE_NAME, LONGEST_NAME, add_key, read_keys, revoke_key
from threadmesh.keys.key import ALL_SCOPES, TENANT, Key, KeyLimits, Scope, digest, id_of, new_token
from threadmesh.keys.uses import read_uses
from threadmesh.settings import data_directory

_DURATION = re.compile(r"([1-9][0-9]{0,4})([dh])")
_SHORT = {
    "requests": "requests/min",
    "tokens": "tokens/min",
    "tool": "tool calls/min",
    "concurrent": "streams",
    "stored": "bytes stored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that is wished for; `expires` is a duration such as `90d`, a date, or empty for never."""

    name: str
    tenant: str
    scopes: Sequence[Scope]
    expires: str
    limits: KeyLimits


def keys_file(file: Path | None, data_dir: Path | None) -> Path:
    """Give the file that is meant."""
    return (file or (data_dir or data_directory()) / FILE_NAME).expanduser().absolute()


def create_key(path: Path, wanted: NewKey, *, as_json: bool) -> None:
    """Make a key, write it into the file and show it. Raises `InvalidArgument` and `ConfigurationError`."""
    now = datetime.now(UTC)
    token = new_token()
    key = Key(
        id=id_of(token),
        sha256=digest(token),
        name=_name(wanted.name),
        tenant=_tenant(wanted.tenant),
        scopes=frozenset(wanted.scopes),
        created=now,
        expires=read_expiry(wanted.expires, now=now),
        limits=wanted.limits,
    )
    add_key(path, key)
    if as_json:
        print_json({"key": token, **_fields(key, now)})
        return
    typer.echo(token)
    typer.echo(f"Keep it: it is not shown again. {path} knows it as {key.id}.", err=True)


def show_keys(path: Path, *, as_json: bool) -> None:
    """Write the keys of the file; none if there is no file. Raises `ConfigurationError`."""
    now = datetime.now(UTC)
    found = list(read_keys(path).values()) if path.exists() else []
    uses = read_uses(path)
    if as_json:
        print_json([_fields(key, now) | {"last_used": _iso(uses.get(key.id))} for key in found])
        return
    columns = ("id", "name", "tenant", "state", "scopes", "created", "expires", "last used", "limits")
    print_table(columns, [_row(key, now, uses.get(key.id)) for key in found])


def revoke(path: Path, named: str) -> str:
    """Revoke a key by its id, or by itself; says what was done. Raises `KeyNotFound` and `ConfigurationError`."""
    key_id = id_of(named) or named
    was_valid = revoke_key(path, key_id, now=datetime.now(UTC))
    return f"Revoked {key_id}." if was_valid else f"{key_id} had been revoked before."


def read_expiry(text: str, *, now: datetime) -> datetime | None:
    """Read when a key ends: so many days or hours from `now`, or a date. Raises `InvalidArgument`."""
    if not text:
        return None
    if found := _DURATION.fullmatch(text):
        number = int(found[1])
        return now + (timedelta(days=number) if found[2] == "d" else timedelta(hours=number))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r} is no time; write 90d, 12h or a date such as 2027-01-31.") from error
    moment = moment.astimezone(UTC)  # without a zone it is this machine's time
    if moment <= now:
        raise InvalidArgument(f"{text} has passed.")
    return moment


def _name(name: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidArgument(f"A name has at most {LONGEST_NAME} printable characters.")
    return name


def _tenant(tenant: str) -> str:
    if tenant and not re.fullmatch(TENANT, tenant):
        raise InvalidArgument("A tenant is named by up to 64 letters, digits and . _ -, first a letter or digit.")
    return tenant


def _fields(key: Key, now: datetime) -> dict[str, Any]:
    limits = {name: value for name, value in asdict(key.limits).items() if value is not None}
    moments = {"created": key.created, "expires": key.expires, "revoked": key.revoked}
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "state": key.state(now),
        **{name: _iso(moment) for name, moment in moments.items()},
        "limits": limits,
    }


def _row(key: Key, now: datetime, used: datetime | None) -> list[str]:
    limits = [
        f"{value} {_SHORT[name.split('_')[0]]}" if value else f"any {_SHORT[name.split('_')[0]]}"
        for name, value in asdict(key.limits).items()
        if value is not None
    ]
    return [
        key.id,
        one_line(key.name, limit=40) or "-",
        key.tenant or "-",
        key.state(now),
        "all" if key.scopes == ALL_SCOPES else " ".join(sorted(key.scopes)),
        _day(key.created),
        _day(key.expires) if key.expires else "never",
        _day(used) if used else "-",
        ", ".join(limits) or "-",
    ]


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _day(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="minutes")[:16]
