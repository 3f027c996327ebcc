"""Leaves out progress that is old before anybody has read it."""

import json
from collections.abc import Iterable

from tools_svc.adapters.framing import Oversized

_SIGN = b"notifications/progress"

Line = bytes | Oversized


def newest_progress(lines: Iterable[Line]) -> list[Line]:
    """Give the messages that came together, of each call's progress only the newest, in their order.

    To look at a message here takes microseconds; to pass it on as one, a hundred times as long.
    """
    kept: list[Line] = []
    seen: set[str] = set()
    for line in reversed(list(lines)):
        token = _token(line) if isinstance(line, bytes) and _SIGN in line else None
        if token is None or token not in seen:
            kept.append(line)
        if token is not None:
            seen.add(token)
    return kept[::-1]


def _token(line: bytes) -> str | None:
    """Say whose progress a message tells; None if it is no such message."""
    try:
        match json.loads(line):
            case {"method": "notifications/progress", "params": {"progressToken": int() | str() as token}}:
                return repr(token)
    except (ValueError, RecursionError):
        pass
    return None
