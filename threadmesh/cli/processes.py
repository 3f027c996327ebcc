"""Processes of this machine, as Linux shows them in /proc."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_STATE, _START_TICKS = 0, 19
"""Places in /proc/<pid>/stat, counted behind the command's closing bracket (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process beyond doubt: its pid, and its start in clock ticks since boot, as pids are used again."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Give the identity of a running process; None when there is none, or only its remains."""
        fields = _stat(pid)
        if not fields or fields[_STATE] in "ZX":
            return None
        return cls(pid=pid, start_ticks=int(fields[_START_TICKS]))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    @property
    def uptime_seconds(self) -> float:
        """How long it has been running."""
        since_boot = float(Path("/proc/uptime").read_text("ascii").split()[0])
        return max(0.0, since_boot - self.start_ticks / _TICKS)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """Kill the process with everything in its group."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.killpg(self.pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    """Give a process's command line; empty when it may not be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
