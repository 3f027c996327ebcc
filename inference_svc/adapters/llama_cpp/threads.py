"""How many compute threads to take."""

import os
from pathlib import Path


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores that this process may keep busy: its CPU affinity, cut by the container's quota; at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, cores if quota is None else min(cores, quota))


def _quota(cgroup: Path) -> int | None:
    """Give the whole cores of the control group's quota, version 2 or 1; None without one."""
    try:
        allowed, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not allowed.isdecimal() or not period.isdecimal() or not int(period):
        return None
    return int(allowed) // int(period)
