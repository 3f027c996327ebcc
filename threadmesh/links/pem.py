"""Reads certificates and their keys. Only processes with secured links import it: the library takes 8 MB."""

from datetime import UTC
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from threadmesh.links.certificates import Certificate, Material, member_of
from threadmesh.links.link import TlsFiles
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()


def read_material(files: TlsFiles) -> Material:
    """Read a link's files; raises `ConfigurationError` for what is missing, broken or does not belong together."""
    certificate = _read(files.certificate)
    key = _read(files.key)
    if files.key is not None and files.key.stat().st_mode & 0o007:
        log.warning("link.key_open_to_all", file=str(files.key), remedy="chmod o= it")
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
