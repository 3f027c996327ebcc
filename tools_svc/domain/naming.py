"""The names by which models call tools: `<server>__<tool>`, in the alphabet that every model API accepts."""

import hashlib
import re

LONGEST = 64
CAPABILITIES = "any"
"""Stands in the place of a server's name where any tool that has a capability may do: `any__<capability>`."""
_SEPARATOR = "__"
_SERVER = re.compile(r"[a-zA-Z0-9-]+(_[a-zA-Z0-9-]+)*")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]")
_GIVEN = re.compile(r".*._[0-9a-f]{8}")
_LONGEST_SERVER = 32


def is_server_name(name: str) -> bool:
    """Whether a server may be called so: letters, digits, `-` and single inner `_`, at most 32.

    Such a name never contains the separator nor runs into it, so two servers can never share a tool's name.
    """
    return len(name) <= _LONGEST_SERVER and _SERVER.fullmatch(name) is not None


def public_name(server: str, tool: str) -> str:
    """Give the name of a server's tool, at most 64 of `a-zA-Z0-9_-`.

    A tool whose own name has other characters or is too long gets a suffix made of its name, the same for ever. So does
    one whose own name ends like that, or it could pass for another tool.
    """
    plain = f"{server}{_SEPARATOR}{tool}"
    fitting = _OTHER.sub("_", plain)
    if fitting == plain and len(plain) <= LONGEST and not _GIVEN.fullmatch(tool):
        return plain
    suffix = "_" + hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return fitting[: LONGEST - len(suffix)] + suffix


def server_of(name: str) -> str:
    """Give the server part of a tool's name; empty when there is none."""
    server, separator, _ = name.partition(_SEPARATOR)
    return server if separator else ""
