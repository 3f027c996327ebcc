"""How long the running request may still take. Set where a request comes in; every call it makes gets what is left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_MARGIN = 0.02
"""Seconds kept back, so that a callee's answer still arrives before the caller's own deadline."""

_ends: ContextVar[float | None] = ContextVar("deadline", default=None)


def remaining() -> float | None:
    """Give the seconds left to the running request; None when nothing limits it."""
    ends = _ends.get()
    return None if ends is None else max(0.0, ends - time.monotonic())


def limit(seconds: float | None) -> None:
    """Limit the rest of the running task to `seconds`; None leaves it unlimited."""
    _ends.set(None if seconds is None else time.monotonic() + seconds)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Limit what runs inside to `seconds`; an outer, shorter limit stays in force."""
    outer = _ends.get()
    inner = outer if seconds is None else time.monotonic() + seconds
    token = _ends.set(inner if outer is None or inner is None else min(inner, outer))
    try:
        yield
    finally:
        _ends.reset(token)


def budget(own: float | None) -> float | None:
    """Give the timeout of a call that may take `own` seconds by itself within the running request; None is no limit."""
    left = remaining()
    if left is None:
        return own
    left = max(0.001, left - _MARGIN)
    return left if own is None else min(own, left)
