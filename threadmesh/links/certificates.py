"""What certificates say, and reading them with their keys."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from threadmesh.links.link import TRUST_DOMAIN, TlsFiles
from threadmesh.settings import ConfigurationError

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


def read_material(files: TlsFiles) -> Material:
    """Read a link's files; raises `ConfigurationError` for what is missing, broken or does not belong together."""
    certificate = _read(files.certificate)
    key = _read(files.key)
    authorities = _read(files.authorities)
    if files.authorities is not None:
        _certificates(authorities, files.authorities)
    if files.certificate is None:
        return Material(authorities=authorities)
    leaf = _certificates(certificate, files.certificate)[0]
    _require_pair(leaf, key, files)
    return Material(certificate=certificate, key=key, authorities=authorities, facts=_facts(leaf))


def read_certificate(path: Path) -> Certificate:
    """Give what the first certificate of a file says; raises `ConfigurationError`."""
    return _facts(_certificates(_read(path), path)[0])


def certificate_of(encoded: bytes) -> Certificate:
    """Give what a certificate in DER says, as a peer shows it."""
    return _facts(x509.load_der_x509_certificate(encoded))


def _read(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: it cannot be read ({error.strerror or error})") from error


def _certificates(content: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConfigurationError(f"{path}: it holds no certificate in PEM") from error


def _require_pair(leaf: x509.Certificate, key: bytes, files: TlsFiles) -> None:
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{files.key}: it holds no private key in PEM without a password") from error
    if private.public_key() != leaf.public_key():
        raise ConfigurationError(f"{files.key}: it is not the key of {files.certificate}")


def _facts(certificate: x509.Certificate) -> Certificate:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return Certificate(
        member=member_of(uris),
        names=tuple(hosts),
        begins=certificate.not_valid_before_utc.astimezone(UTC),
        ends=certificate.not_valid_after_utc.astimezone(UTC),
    )


def member_of(uris: list[str]) -> str:
    """Give the member of the mesh that the URIs of a certificate name; empty unless it is exactly one."""
    members = [uri.removeprefix(TRUST_DOMAIN) for uri in uris if uri.startswith(TRUST_DOMAIN)]
    return members[0] if len(members) == 1 == len(uris) else ""
