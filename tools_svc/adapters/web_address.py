"""Which addresses the servers file may name, and which of them a connection may be made to."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
_METADATA = {
    ipaddress.ip_address(each)
    for each in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
}
"""Where clouds tell a machine its credentials, as far as it is not link-local: Alibaba, Azure, Oracle, AWS, Google."""
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_NEVER = "a link-local, multicast, reserved or metadata address is no place for a server"
_PRIVATE = 'it is of a private network or of this machine; "private_network": true allows that'
_ELSEWHERE = "it is not of this machine"


def complaint(value: Any, *, private_network: bool = False) -> str:
    """Say why this is no https:// address, nor an http:// one of this machine; empty when it is one.

    One of a private network is for those who may reach it. A name is looked up, and its addresses are judged by
    `refusal`, only when a connection is made.
    """
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        return "it must be an https:// address"
    if parts.username or parts.password:
        return "it holds credentials; put them into 'headers' as ${env:NAME}"
    if parts.scheme == "http" and not _is_this_machine(host):
        return "http:// is allowed to this machine only; use https://"
    if host.rstrip(".") in _METADATA_NAMES:
        return _NEVER
    address = literal(host)
    return "" if address is None else refusal(host, address, private_network=private_network)


def refusal(host: str, address: Address, *, private_network: bool) -> str:
    """Say why no connection to this address of a host may be made; empty when it may.

    A host that is this machine by its own words leads nowhere else, and others lead there only where private networks
    may be reached.
    """
    meant = _meant(address)
    if _is_this_machine(host):
        return "" if meant.is_loopback else _ELSEWHERE
    if meant.is_loopback or not _is_never(meant):
        return "" if meant.is_global or private_network else _PRIVATE
    return _NEVER


def literal(host: str) -> Address | None:
    """Give the address that a host is, in any form that the system takes: `10.1`, `0x7f000001`; None for a name."""
    host = host.rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_this_machine(host: str) -> bool:
    address = literal(host)
    return host.rstrip(".") == "localhost" if address is None else _meant(address).is_loopback


def _meant(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_never(address: Address) -> bool:
    special = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    return special or address in _THIS_NETWORK or address in _METADATA
