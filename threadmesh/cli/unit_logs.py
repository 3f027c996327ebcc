"""The log files of the units: begun anew at each start of the mesh, and read for their last words."""

import json
from pathlib import Path

from threadmesh.cli.output import one_line

_TAIL_BYTES = 16_384
_LAST_LINES = 6


def rotate(log: Path) -> None:
    """Keep the log of the last start as `<name>.log.1`; the one before it goes."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))


def last_event(log: Path) -> str:
    """Give what the unit logged last, for people; empty when it has logged nothing."""
    for line in reversed(_tail(log)):
        if words := _event(line):
            return words
    return ""


def last_words(log: Path) -> str:
    """Give why a unit ended: what it wrote after its last log line, or else that line.

    Of a traceback it is the last line, which names the error.
    """
    lines = _tail(log)
    plain: list[str] = []
    for line in reversed(lines):
        if _event(line):
            break
        plain.insert(0, line)
    if not plain:
        return last_event(log)
    if any(line.startswith("Traceback ") for line in plain):
        return one_line(plain[-1])
    return "\n".join(map(one_line, plain[-_LAST_LINES:]))


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def _event(line: str) -> str:
    """Give the event of a JSON line with its error, if it is one."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict):
        return ""
    facts = (entry.get(name) for name in ("event", "message", "error", "reason"))
    return one_line(": ".join(str(fact) for fact in facts if fact))
