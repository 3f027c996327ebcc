"""A certificate authority of one's own, for meshes that have no other: it makes one certificate a member."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from threadmesh.links.link import TRUST_DOMAIN
from threadmesh.settings import ConfigurationError

AUTHORITY = "ca"
"""Name of the authority's files."""
SERVERS = ("inference", "tools", "context")
CLIENTS = ("facade", "envoy", "cli")
AUTHORITY_DAYS = 3650
DAYS = 365
_SKEW = timedelta(minutes=5)
"""Machines' clocks differ: a certificate is valid from a little before it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def certificate_path(directory: Path, name: str) -> Path:
    """Give the file of a member's certificate."""
    return directory / f"{name}.pem"


def key_path(directory: Path, name: str) -> Path:
    """Give the file of a member's key."""
    return directory / f"{name}.key"


def new_authority(now: datetime, *, days: int = AUTHORITY_DAYS) -> Pair:
    """Make an authority that may sign members' certificates and no other authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one name would be taken for each other, and their certificates for broken ones.
    name = _name(f"threadmesh CA {token_hex(4)}")
    builder = _builder(name, name, key, now, now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Pair(certificate=builder.sign(key, hashes.SHA256()), key=key)


def issue(authority: Pair, member: str, now: datetime, *, days: int = DAYS, names: Sequence[str] = ()) -> Pair:
    """Make a member's certificate, with more host names and addresses; it ends no later than its authority's.

    A unit's serves and nothing else; that of who calls units calls and nothing else. Raises `ConfigurationError` for an
    authority whose time is over.
    """
    last = authority.certificate.not_valid_after_utc
    if last <= now:
        raise ConfigurationError(f"the authority has expired on {last:%Y-%m-%d}; remove its files to make another")
    ends = min(now + timedelta(days=days), last)
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if member in SERVERS else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(_name(member), authority.certificate.subject, key, now, ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(list(_names(member, names))), critical=False)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(signer, critical=False)
    return Pair(certificate=builder.sign(authority.key, hashes.SHA256()), key=key)


def write_pair(directory: Path, name: str, pair: Pair) -> None:
    """Put a certificate and its key into the directory; only the owner can read the key. Raises `ConfigurationError`.

    Each file is replaced at once, the key first, so that a process which follows them never finds half of one.
    """
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(key_path(directory, name), key, mode=0o600)
        _replace(certificate_path(directory, name), pair.certificate.public_bytes(Encoding.PEM), mode=0o644)
    except OSError as error:
        raise ConfigurationError(f"{directory}: it cannot be written ({error.strerror or error})") from error


def read_authority(directory: Path) -> Pair | None:
    """Give the authority of the directory, None if there is none; raises `ConfigurationError` for a broken one."""
    certificate, key = certificate_path(directory, AUTHORITY), key_path(directory, AUTHORITY)
    if not certificate.exists() and not key.exists():
        return None
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{certificate} and {key} are no authority; remove them to make another") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != found.public_key():
        raise ConfigurationError(f"{key} is not the key of {certificate}; remove both to make another")
    return Pair(certificate=found, key=private)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, ends) - _SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _names(member: str, more: Sequence[str]) -> list[x509.GeneralName]:
    """Give the identity and, for a unit, the names by which it is called: its own, and those of its service."""
    own = [member, f"{member}.threadmesh", f"{member}.threadmesh.svc", f"{member}.threadmesh.svc.cluster.local"]
    hosts = [*(own if member in SERVERS else ()), *more]
    return [x509.UniformResourceIdentifier(f"{TRUST_DOMAIN}{member}"), *map(_host, dict.fromkeys(hosts))]


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
