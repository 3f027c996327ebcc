"""Where a unit is, together with how the link to it is secured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from threadmesh.links.link import PLAINTEXT, ClientLink, TlsFiles
from threadmesh.settings import ConfigurationError

DIRECTORY = "certificates"
"""Where in the data directory `threadmesh certs` and `threadmesh up --mtls` keep certificates."""
MEMBER = "cli"
"""Who the command line is to units."""


class Target(str):
    """The address of a unit, `host:port`, that also knows the link to it; any other text is an address in plaintext."""

    __slots__ = ("link", "peer")
    link: ClientLink
    peer: str

    def __new__(cls, address: str, *, link: ClientLink, peer: str) -> Self:
        """`peer` is the unit that must be there."""
        target = super().__new__(cls, address)
        target.link, target.peer = link, peer
        return target


def files_in(directory: Path, member: str) -> TlsFiles:
    """Give the files of a member in a directory of `threadmesh certs`."""
    return TlsFiles(
        certificate=directory / f"{member}.pem", key=directory / f"{member}.key", authorities=directory / "ca.pem"
    )


def own_link(environment: Mapping[str, str], certificates: Path | None) -> ClientLink:
    """Give the command line's link: what `THREADMESH_LINK_...` says, else the mesh's own certificates, else plaintext.

    Raises `ConfigurationError` for a certificate without its key.
    """
    said = {
        name: environment[variable]
        for name in ("CERTIFICATE", "KEY", "CA", "TOKEN", "TOKEN_FILE", "INSECURE")
        if environment.get(variable := f"THREADMESH_LINK_{name}")
    }
    if not said:
        return PLAINTEXT if certificates is None else ClientLink(files=files_in(certificates, MEMBER))
    if ("CERTIFICATE" in said) != ("KEY" in said):
        raise ConfigurationError("THREADMESH_LINK_CERTIFICATE and THREADMESH_LINK_KEY go together")
    paths = {name: Path(said[name]).expanduser() for name in ("CERTIFICATE", "KEY", "CA", "TOKEN_FILE") if name in said}
    return ClientLink(
        files=TlsFiles(certificate=paths.get("CERTIFICATE"), key=paths.get("KEY"), authorities=paths.get("CA")),
        token=said.get("TOKEN", ""),
        token_file=paths.get("TOKEN_FILE"),
        insecure=said.get("INSECURE", "").lower() in {"1", "true", "yes", "on"},
    )
