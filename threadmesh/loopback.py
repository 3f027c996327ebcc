"""Addresses that reach this machine alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Say whether a name or an address reaches this machine alone, without asking anybody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
