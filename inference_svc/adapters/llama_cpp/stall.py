"""Ends the process when a call into llama.cpp's grammar does not come back.

Such a call cannot be stopped, and while it lasts the engine answers nobody. Whoever watches over the process starts a
new one, and the request that did it is found among those that were being worked on (`quarantined_backend`).
"""

import functools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

STALLED_SECONDS = 20


class _Clock:
    """Counts seconds in which this process really ran, so that a stopped process is not taken for a stalled one."""

    def __init__(self) -> None:
        self.seconds = 0
        self.begun: dict[int, int] = {}
        threading.Thread(target=self._watch, name="stall", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            self.seconds += 1
            if any(self.seconds - begun > STALLED_SECONDS for begun in list(self.begun.values())):
                log.critical("grammar.stalled", seconds=STALLED_SECONDS)
                os.abort()


@functools.cache
def _clock() -> _Clock:
    return _Clock()


@contextmanager
def must_return() -> Iterator[None]:
    """End the process if the block takes longer than twenty seconds."""
    clock, thread = _clock(), threading.get_ident()
    clock.begun[thread] = clock.seconds
    try:
        yield
    finally:
        del clock.begun[thread]
