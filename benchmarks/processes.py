"""Processes as Linux shows them in /proc: who belongs together, what they use, and stopping them for a while."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.failures import BenchmarkError

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATE, _PARENT, _USER_TICKS, _SYSTEM_TICKS = 0, 1, 11, 12
"""Places in /proc/<pid>/stat, counted behind the command's closing bracket (proc_pid_stat(5))."""
_BUSY = 0.1
_STOPPED = "TZX"
"""States of processes that do not run until somebody lets them, or never again."""

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.005


def family(pid: int) -> list[int]:
    """Give a process and all its descendants, parents first; empty when it is gone."""
    parents = dict(_parents())
    if pid not in parents:
        return []
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def pause(pid: int) -> None:
    """Stop a process and its descendants, so that not even their spinning threads cost anything.

    Returns when all have stopped. Raises `BenchmarkError` if they do not.
    """
    ends = time.monotonic() + _STOP_SECONDS
    while running := [member for member in family(pid) if _state(member) not in _STOPPED]:
        for member in running:
            _send(member, signal.SIGSTOP)
        if time.monotonic() > ends:
            raise BenchmarkError(f"processes do not stop: {running}")
        time.sleep(_POLL_SECONDS)


def resume(pid: int) -> None:
    """Let a process and its descendants go on, the children before who watches over them."""
    for member in reversed(family(pid)):
        _send(member, signal.SIGCONT)


def resident_bytes(pid: int) -> int:
    """Give the physical memory that a process holds (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES


def cpu_ticks(pid: int) -> int:
    """Give the CPU time that a process has used, in clock ticks; 0 when it is gone."""
    try:
        return _ticks(Path(f"/proc/{pid}/stat"))
    except OSError:
        return 0


def busy_threads(pid: int) -> int:
    """Count the threads of a process that used at least a tenth of the CPU time of its busiest one."""
    times = [_ticks(path) for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return sum(time >= _BUSY * max(times) for time in times)


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            yield int(path.parent.name), int(_fields(path)[_PARENT])


def _state(pid: int) -> str:
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[_STATE]
    except OSError:
        return "X"


def _ticks(path: Path) -> int:
    fields = _fields(path)
    return int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])


def _fields(path: Path) -> Sequence[str]:
    return path.read_text("utf-8", errors="replace").rpartition(")")[2].split()


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
