"""What certificates say, as values; `pem` reads them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from threadmesh.links.link import TRUST_DOMAIN

WARN_BEFORE = timedelta(days=14)
"""How long before its end a certificate is warned about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Whose a certificate is, the names and addresses it is for, and when it is valid; times are in UTC.

    `member` is empty where the certificate names no member of the mesh.
    """

    member: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime

    def expired(self, now: datetime) -> bool:
        """Say whether its time is over."""
        return now >= self.ends

    def expires_soon(self, now: datetime) -> bool:
        """Say whether it is time to replace it."""
        return now >= self.ends - WARN_BEFORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The bytes of a link's files, and what its certificate says; empty and None where there is none."""

    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    authorities: bytes = b""
    facts: Certificate | None = None


def member_of(uris: list[str]) -> str:
    """Give the member of the mesh that the URIs of a certificate name; empty unless it is exactly one."""
    members = [uri.removeprefix(TRUST_DOMAIN) for uri in uris if uri.startswith(TRUST_DOMAIN)]
    return members[0] if len(members) == 1 == len(uris) else ""
