"""Leaves out progress that is old before anybody has read it."""

import json
import re
from collections.abc import Iterable

from tools_svc.adapters.framing import Oversized

_SIGN = b"notifications/progress"
_USUAL = re.compile(
    rb'\s*\{(?:"jsonrpc":\s*"2\.0",\s*)?"method":\s*"notifications/progress",\s*"params":\s*\{'
    rb'"progressToken":\s*("[^"\\]*"|\d+)[,}\s]'
)
"""How such a message begins that one of the SDKs has written; to read it as JSON takes many times as long."""

Line = bytes | Oversized


def newest_progress(lines: Iterable[Line]) -> list[Line]:
    """Give the messages that came together, of each call's progress only the newest, in their order.

    To look at a message here takes a microsecond; to pass it on as one, a hundred times as long.
    """
    kept: list[Line] = []
    seen: set[str] = set()
    beginnings: tuple[bytes, ...] = ()
    for line in reversed(list(lines)):
        if isinstance(line, Oversized) or _SIGN not in line:
            kept.append(line)
        elif not line.startswith(beginnings):
            usual = _USUAL.match(line)
            token = usual[1].decode(errors="replace") if usual else _token(line)
            if usual:
                beginnings += (usual[0],)
            if token is None or token not in seen:
                kept.append(line)
            if token is not None:
                seen.add(token)
    return kept[::-1]


def _token(line: bytes) -> str | None:
    """Say whose progress a message tells, as JSON; None if it is no such message."""
    try:
        match json.loads(line):
            case {"method": "notifications/progress", "params": {"progressToken": int() | str() as token}}:
                return json.dumps(token, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return None
