"""Which addresses the servers file may name."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit


def complaint(value: Any) -> str:
    """Say why this is no https:// address, nor an http:// one of this machine; empty when it is one."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        return "it must be an https:// address"
    if parts.username or parts.password:
        return "it holds credentials; put them into 'headers' as ${env:NAME}"
    if parts.scheme == "http" and not _is_loopback(host):
        return "http:// is allowed to this machine only; use https://"
    return "a link-local address is no place for a tool server" if _is_link_local(host) else ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
