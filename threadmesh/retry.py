"""Trying again, within limits: only what says that it may be repeated, and only for so long."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from threadmesh.errors import MeshError

Result = TypeVar("Result")


async def persist(operation: Callable[[], Awaitable[Result]], *, seconds: float) -> Result:
    """Repeat an operation that is safe to repeat while its errors are `retryable`, for `seconds` at most.

    The pauses grow from about 50 ms to 1 s and are random, so that many callers do not come back at once. Raises the
    last error.
    """

    async def attempt() -> Result:
        return await operation()

    attempts = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, MeshError) and error.retryable),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    return await attempts(attempt)
