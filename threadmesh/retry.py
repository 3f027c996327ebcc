"""Trying again, within limits: only what says that it may be repeated, only for so long, and only so often."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying
from tenacity.asyncio.retry import retry_if_exception

from threadmesh.errors import MeshError
from threadmesh.retry_budget import RetryBudget

Result = TypeVar("Result")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_OF_MANY_SECONDS = 1.0
"""Of those who share a budget: that keeps them apart already."""
_NEWS_SECONDS = 1.0
"""How long it may take until everybody who waits has learnt that a service is back."""


def full_jitter(failures: int, *, longest: float = _LONGEST_PAUSE_SECONDS) -> float:
    """Draw the pause, in seconds, after so many failures in a row.

    Anything from 0 to 0.1 s after the first, twice as much after each further one, up to `longest`: of all ways to draw
    it the one that keeps callers apart best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    pause = min(longest, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 32))
    return random.uniform(0, pause)  # noqa: S311  # only to keep callers apart


async def persist(
    operation: Callable[[], Awaitable[Result]],
    *,
    seconds: float,
    budget: RetryBudget,
    unless: tuple[type[MeshError], ...] = (),
) -> Result:
    """Repeat an operation that is safe to repeat while its errors are `retryable`, for about `seconds` at most.

    Errors of the kinds in `unless` are left to the caller.

    It is repeated after a pause that is random and grows from about 50 ms to half a second, and then when the `budget`
    lets it: an outage that is shorter than `seconds` is waited out, however many wait with it. Raises the last error.
    """
    budget.asked += 1
    began = budget.now()
    try:
        result = await operation()  # outside of the machinery of repetition: many an operation costs as little
    except MeshError as error:
        if not await _bearable(error, budget, failures=1, ends=began + seconds, unless=unless):
            raise
    else:
        if budget.wary:
            budget.answered()
        return result
    return await _repeat(operation, budget, ends=began + seconds, unless=unless)


async def _repeat(
    operation: Callable[[], Awaitable[Result]], budget: RetryBudget, *, ends: float, unless: tuple[type[MeshError], ...]
) -> Result:
    failures = 1

    async def attempt() -> Result:
        return await operation()

    async def bearable(error: BaseException) -> bool:
        nonlocal failures
        failures += 1
        return isinstance(error, MeshError) and await _bearable(
            error, budget, failures=failures, ends=ends, unless=unless
        )

    result: Result = await AsyncRetrying(retry=retry_if_exception(bearable), reraise=True)(attempt)
    budget.answered()
    return result


async def _bearable(
    error: MeshError, budget: RetryBudget, *, failures: int, ends: float, unless: tuple[type[MeshError], ...]
) -> bool:
    """Tell the budget of an error, and wait until it is time to ask again; False if that is not to be."""
    if not error.retryable:
        budget.answered()
        return False
    budget.failed()
    return not isinstance(error, unless) and await may_repeat(budget, failures=failures, ends=ends)


async def may_repeat(budget: RetryBudget, *, failures: int, ends: float) -> bool:
    """Wait until one may ask again after so many failures; False if that may not be before it `ends`.

    Whoever waits at that time waits a moment longer, in which others learn whether the service is back.
    """
    if budget.now() >= ends:
        return False
    await asyncio.sleep(full_jitter(failures, longest=_LONGEST_PAUSE_OF_MANY_SECONDS))
    return await budget.leave(until=ends + _NEWS_SECONDS)
