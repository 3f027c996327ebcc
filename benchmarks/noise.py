"""How quiet the machine was while something was measured."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.figures import ratio
from benchmarks.processes import cpu_ticks, family
from benchmarks.result import Noise

_BUSY = slice(0, 3)
_INTERRUPTS = slice(5, 7)
_STEAL = 7
_ALL = slice(0, 8)
"""Places of user, nice and system time; of interrupts; of steal; and of everything, in /proc/stat (proc_stat(5))."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Clock ticks since the machine started: all of them, the busy ones, those of what is measured, and the stolen."""

    total: float
    busy: float
    own: float
    stolen: float

    @classmethod
    def take(cls, roots: Iterable[int]) -> Self:
        """Read the clock; `roots` are the processes whose descendants are measured, beside this process itself."""
        fields = [float(value) for value in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:]]
        return cls(
            total=sum(fields[_ALL]),
            busy=sum(fields[_BUSY]) + sum(fields[_INTERRUPTS]),
            own=sum(os.times()[:4]) * _TICKS + sum(cpu_ticks(member) for root in roots for member in family(root)),
            stolen=fields[_STEAL],
        )

    def until(self, later: "Reading") -> Noise:
        """Give the shares of the CPU time that others had between two readings."""
        total = later.total - self.total
        others = (later.busy - self.busy) - (later.own - self.own)
        return Noise(others=_percent(others, total), stolen=_percent(later.stolen - self.stolen, total))


def _percent(ticks: float, total: float) -> float:
    return max(0.0, 100 * ratio(ticks, total))
