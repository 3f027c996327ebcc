"""What kind of file system a path lies on, as far as that matters to what must not be lost."""

from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_VANISHING = frozenset({"tmpfs", "ramfs"})


def vanishes(path: Path, *, mounts: Path = _MOUNTS) -> bool:
    """Whether what is written at a path is gone when the machine restarts; False where that cannot be told."""
    return kind_of(path, mounts=mounts) in _VANISHING


def kind_of(path: Path, *, mounts: Path = _MOUNTS) -> str:
    """Name the kind of file system that a path lies on; empty where that cannot be told."""
    try:
        lines = mounts.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    absolute = path.resolve()
    found, longest = "", -1
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(fields[1].replace("\\040", " "))
        if absolute.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = fields[2], len(place.parts)
    return found
