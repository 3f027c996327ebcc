"""Files that are replaced while a process runs."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

Content = TypeVar("Content")
_Signature = tuple[tuple[int, int, int], ...]


class FollowedFiles(Generic[Content]):
    """What some files say, read again when one of them has been replaced.

    Asking costs one `stat` a file. What cannot be read is logged, once, and the content before it stays in force: the
    files of a certificate and its key are replaced one after the other. May be asked by any thread.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content]) -> None:
        """Read the files; raises the `ConfigurationError` that `read` raises."""
        self._paths = paths
        self._read = read
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._content = read()

    def current(self) -> Content:
        """Give what the files say now."""
        with self._lock:
            signature = self._signature()
            if signature != self._seen:
                self._seen = signature
                self._replace()
            return self._content

    def _replace(self) -> None:
        names = [str(path) for path in self._paths]
        try:
            self._content = self._read()
        except ConfigurationError as error:
            log.warning("link.files_not_taken", files=names, problem=error.message)
        else:
            log.info("link.files_replaced", files=names)

    def _signature(self) -> _Signature:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)
