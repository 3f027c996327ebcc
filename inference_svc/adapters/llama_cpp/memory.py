"""How much memory this process may still take."""

from pathlib import Path


def available_bytes(root: Path = Path("/")) -> int:
    """Give the bytes that the kernel could hand out without swapping, cut by the control groups' limits.

    `root` is where `proc` and `sys` are. Where nothing can be read it is 0: then nobody relies on memory.
    """
    limits = [_kernel(root / "proc" / "meminfo"), *_groups(root)]
    return min((limit for limit in limits if limit is not None), default=0)


def _kernel(meminfo: Path) -> int:
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _groups(root: Path) -> list[int | None]:
    """Give the limits of this process's control group and of those above it, version 2 or 1."""
    mount = root / "sys" / "fs" / "cgroup"
    limits = [_limit(mount / "memory" / "memory.limit_in_bytes")]
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        group, _, path = line.rpartition(":")
        if group == "0:":
            own = mount / path.lstrip("/")
            limits += [_limit(each / "memory.max") for each in (own, *own.parents) if each.is_relative_to(mount)]
    return limits


def _limit(file: Path) -> int | None:
    value = _read(file).strip()
    return int(value) if value.isdecimal() else None


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except OSError:
        return ""
