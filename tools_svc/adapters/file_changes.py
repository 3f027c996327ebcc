"""Tells when a file has changed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

_EVERY_SECONDS = 1.0


async def changes(path: Path, *, every: float = _EVERY_SECONDS) -> AsyncIterator[None]:
    """Give a sign whenever the file's time, size or identity has changed, looked at each second, and on SIGHUP.

    SIGHUP is heard in the main thread only, and until the process ends.
    """
    asked = asyncio.Event()
    with suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    seen = _mark(path)
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await asked.wait()
        before, seen = seen, _mark(path)
        if asked.is_set() or before != seen:
            asked.clear()
            yield


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
