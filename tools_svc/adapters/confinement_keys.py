"""The keys of the servers file that confine a server which we start.

`memory_mb`, `open_files`, `processes`, `user`, `network`, and for a command `sha256`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tools_svc.adapters import located_json
from tools_svc.adapters.accounts import find_account, may_become
from tools_svc.adapters.server_config import Confinement

KEYS = {"memory_mb", "open_files", "processes", "user", "network"}
"""Those of every server that we start; `sha256` is of a command only."""

Complaint = tuple[located_json.Path, str]

_LEAST_MB, _MOST_MB = 16, 1024 * 1024
_FEWEST_FILES, _MOST_FILES = 16, 1024 * 1024
_MOST_PROCESSES = 100_000
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


def check_together(raw: Mapping[str, Any]) -> Iterator[Complaint]:
    """Complain about a limit that would be shared with others: the system counts the processes of a user."""
    if "processes" in raw and "user" not in raw:
        yield ("processes",), "it needs a 'user' of the server's own, because all processes of a user are counted"


def confinement(raw: Mapping[str, Any]) -> Confinement:
    """Give what a server without complaints says."""
    return Confinement(
        memory_mb=raw.get("memory_mb"),
        open_files=raw.get("open_files"),
        processes=raw.get("processes"),
        sha256=raw.get("sha256", "").lower(),
        user=raw.get("user"),
        network=raw.get("network", True),
    )


def _check_memory(value: Any) -> Iterator[Complaint]:
    yield from _whole(value, least=_LEAST_MB, most=_MOST_MB)


def _check_open_files(value: Any) -> Iterator[Complaint]:
    yield from _whole(value, least=_FEWEST_FILES, most=_MOST_FILES)


def _check_processes(value: Any) -> Iterator[Complaint]:
    yield from _whole(value, least=1, most=_MOST_PROCESSES)


def _check_sha256(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        yield (), "it must be a SHA-256, 64 hexadecimal digits"


def _check_user(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str | int) or isinstance(value, bool) or (account := find_account(value)) is None:
        yield (), "there is no such user"
    elif not may_become(account):
        yield (), "only root can start a server as another user"


def _check_network(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, bool):
        yield (), "it must be true or false"


def _whole(value: Any, *, least: int, most: int) -> Iterator[Complaint]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield (), f"it must be a whole number, {least} to {most}"


CHECKS: dict[str, Callable[[Any], Iterator[Complaint]]] = {
    "memory_mb": _check_memory,
    "open_files": _check_open_files,
    "processes": _check_processes,
    "sha256": _check_sha256,
    "user": _check_user,
    "network": _check_network,
}
