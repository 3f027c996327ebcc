"""`threadmesh certs`: an authority of one's own, and a certificate for each member of the mesh."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer

from threadmesh.cli.output import print_json, print_table
from threadmesh.cli.targets import DIRECTORY
from threadmesh.errors import InvalidArgument, PreconditionFailed
from threadmesh.links.authority import (
    AUTHORITY,
    CLIENTS,
    DAYS,
    SERVERS,
    certificate_path,
    issue,
    key_path,
    new_authority,
    read_authority,
    write_pair,
)
from threadmesh.links.link import TRUST_DOMAIN
from threadmesh.links.pem import read_certificate
from threadmesh.settings import ConfigurationError, data_directory

ALL = (*SERVERS, *CLIENTS)
_HOST = re.compile(r"(\*\.)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Certificates that are wished for: of whom, with which more names and addresses, and for how many days."""

    members: Sequence[str] = ALL
    dns: Sequence[str] = ()
    ip: Sequence[str] = ()
    days: int = DAYS
    force: bool = False


def certificates_directory(directory: Path | None, data_dir: Path | None) -> Path:
    """Give the directory that is meant."""
    return (directory or (data_dir or data_directory()) / DIRECTORY).expanduser().absolute()


def create(directory: Path, order: Order) -> None:
    """Make certificates and show them.

    Raises `InvalidArgument`, `ConfigurationError`, and `PreconditionFailed` where one is there already, unless the
    order says `force`; an authority is never replaced.
    """
    members = _checked(order)
    there = [str(certificate_path(directory, each)) for each in members if _exists(directory, each)]
    if there and not order.force:
        raise PreconditionFailed(
            f"{there[0]} is there already; --force replaces it, and running units take the new one"
        )
    make(directory, members, names=(*order.dns, *order.ip), days=order.days)
    show(directory, as_json=False)
    secret = key_path(directory, AUTHORITY)
    typer.echo(f"\nKeep {secret} to yourself: who has it can be anybody. Units do not need it.", err=True)


def make(directory: Path, members: Sequence[str], *, names: Sequence[str] = (), days: int = DAYS) -> None:
    """Write certificates of these members, in place of those that there are, and an authority if there is none."""
    now = datetime.now(UTC)
    authority = read_authority(directory)
    if authority is None:
        authority = new_authority(now)
        write_pair(directory, AUTHORITY, authority)
    for member in members:
        write_pair(
            directory, member, issue(authority, member, now, days=days, names=names if member in SERVERS else ())
        )


def ensure(directory: Path) -> None:
    """Make the certificates that are missing in the directory, or end soon."""
    now = datetime.now(UTC)
    stale = [
        member
        for member in ALL
        if not _exists(directory, member) or read_certificate(certificate_path(directory, member)).expires_soon(now)
    ]
    if stale:
        make(directory, stale)


def show(directory: Path, *, as_json: bool) -> None:
    """Write what is in the directory; raises `ConfigurationError` where nothing is."""
    found = [each for each in (AUTHORITY, *ALL) if certificate_path(directory, each).exists()]
    if not found:
        raise ConfigurationError(f"{directory}: there are no certificates; `threadmesh certs create` makes them")
    rows = [_described(directory, each) for each in found]
    if as_json:
        print_json(rows)
        return
    print_table(list(rows[0]), [list(row.values()) for row in rows])


def _described(directory: Path, name: str) -> dict[str, str]:
    path, now = certificate_path(directory, name), datetime.now(UTC)
    facts = read_certificate(path)
    state = "expired" if facts.expired(now) else "ends soon" if facts.expires_soon(now) else "valid"
    return {
        "certificate": name,
        "identity": f"{TRUST_DOMAIN}{facts.member}" if facts.member else "-",
        "state": state,
        "until": f"{facts.ends:%Y-%m-%d}",
        "names": ", ".join(facts.names) or "-",
        "file": str(path),
    }


def _exists(directory: Path, member: str) -> bool:
    return certificate_path(directory, member).exists() or key_path(directory, member).exists()


def _checked(order: Order) -> Sequence[str]:
    for member in order.members:
        if member not in ALL:
            raise InvalidArgument(f"{member!r} is no member of the mesh; there are {', '.join(ALL)}.")
    for name in order.dns:
        if not _HOST.fullmatch(name) or len(name) > 253:
            raise InvalidArgument(f"{name!r} is no host name.")
    for address in order.ip:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise InvalidArgument(f"{address!r} is no IP address.") from error
    return tuple(dict.fromkeys(order.members)) or ALL
