"""Trying again, within limits: only what says that it may be repeated, and only for so long."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from threadmesh.errors import MeshError

Result = TypeVar("Result")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


def full_jitter(failures: int) -> float:
    """Draw the pause, in seconds, after so many failures in a row.

    Anything from 0 to 0.1 s after the first, twice as much after each further one, up to 2 s: of all ways to draw it
    the one that keeps callers apart best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 32))
    return random.uniform(0, longest)  # noqa: S311  # only to keep callers apart


async def persist(
    operation: Callable[[], Awaitable[Result]], *, seconds: float, unless: tuple[type[MeshError], ...] = ()
) -> Result:
    """Repeat an operation that is safe to repeat while its errors are `retryable`, for `seconds` at most.

    Errors of the kinds in `unless` are left to the caller.

    The pauses grow from about 50 ms to 1 s and are random, so that many callers do not come back at once. Raises the
    last error.
    """
    began = time.monotonic()
    try:
        return await operation()  # outside of the machinery of repetition, which costs more than many an operation
    except MeshError as error:
        left = seconds - (time.monotonic() - began)
        if not error.retryable or isinstance(error, unless) or left <= 0:
            raise
    return await _repeat(operation, seconds=left, unless=unless)


async def _repeat(
    operation: Callable[[], Awaitable[Result]], *, seconds: float, unless: tuple[type[MeshError], ...]
) -> Result:
    async def attempt() -> Result:
        return await operation()

    await asyncio.sleep(full_jitter(1))
    attempts = AsyncRetrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, MeshError) and error.retryable and not isinstance(error, unless)
        ),
        wait=wait_random_exponential(multiplier=2 * _FIRST_PAUSE_SECONDS, max=1),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    return await attempts(attempt)
