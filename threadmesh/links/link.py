"""How the links of a process are secured, as values; nothing is read here."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

TRUST_DOMAIN = "spiffe://threadmesh/"
"""What the identity of every member begins with."""


class Security(StrEnum):
    """What protects a link."""

    MTLS = "mTLS"
    TLS_TOKEN = "TLS and token"  # noqa: S105  # no secret
    TOKEN = "token"  # noqa: S105  # no secret
    PLAINTEXT = "plaintext"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: a certificate with those between it and its authority, its key, and the authorities to trust.

    None is a file that there is none of.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that there is."""
        return tuple(path for path in (self.certificate, self.key, self.authorities) if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLink:
    """How a caller secures its links. `settings` is the prefix of the variables that say so, for error messages."""

    files: TlsFiles = field(default_factory=TlsFiles)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    insecure: bool = False
    settings: str = "THREADMESH_"

    @property
    def security(self) -> Security:
        """What protects the links."""
        with_token = bool(self.token or self.token_file)
        if self.files.authorities is None:
            return Security.TOKEN if with_token else Security.PLAINTEXT
        return Security.TLS_TOKEN if with_token else Security.MTLS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLink:
    """How a unit secures what it serves: callers are known by certificates, by the tokens in a file, or not at all."""

    files: TlsFiles = field(default_factory=TlsFiles)
    tokens_file: Path | None = None
    insecure: bool = False
    settings: str = ""

    @property
    def security(self) -> Security:
        """What protects the links."""
        if self.files.certificate is None:
            return Security.TOKEN if self.tokens_file else Security.PLAINTEXT
        return Security.TLS_TOKEN if self.tokens_file else Security.MTLS


PLAINTEXT = ClientLink()
"""The link of a caller that has neither certificate nor token; loopback needs no other."""
OPEN = ServerLink()
"""The link of a server that lets everybody in who reaches it."""
