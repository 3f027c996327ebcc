"""Tells when files have changed."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

_EVERY_SECONDS = 1.0


async def changes(paths: Callable[[], Iterable[Path]], *, every: float = _EVERY_SECONDS) -> AsyncIterator[None]:
    """Give a sign whenever a file's time, size or identity has changed, looked at each second, and on SIGHUP.

    SIGHUP is heard in the main thread only, and until the process ends.
    """
    asked = asyncio.Event()
    with suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    seen = _marks(paths())
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await asked.wait()
        before, seen = seen, _marks(paths())
        if asked.is_set() or before != seen:
            asked.clear()
            yield


def _marks(paths: Iterable[Path]) -> dict[Path, tuple[int, ...]]:
    return {path: _mark(path) for path in paths}


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
