"""Who may use the API and how much, put together from the settings; a part of `app`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

from facade.adapters.followed_keys import FollowedKeys
from facade.adapters.noted_uses import NotedUses
from facade.domain.keyring import Caller, Keyring
from facade.domain.rate_limits import RateLimits
from facade.edge.metrics import FacadeMetrics
from facade.settings import FacadeSettings
from threadmesh.clock import SystemClock
from threadmesh.keys.key import KeyLimits
from threadmesh.loopback import is_loopback
from threadmesh.settings import ConfigurationError

_MOST_LIMITS = 1_024
"""Kinds of keys whose limits are remembered."""


@asynccontextmanager
async def noted_uses(settings: FacadeSettings, counted: FacadeMetrics) -> AsyncIterator[Callable[[Caller], None]]:
    """Give what notes that a caller was let in by its key, as long as the block lasts."""
    uses, clock = NotedUses(settings.keys_file), SystemClock()

    def note(caller: Caller) -> None:
        if caller.key_id:
            now = clock.now()
            uses.note(caller.key_id, now)
            counted.key_used.labels(caller.key_id).set(now.timestamp())

    keeping = asyncio.create_task(uses.keep(), name="write down uses of keys")
    try:
        yield note
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.to_thread(uses.write)


@asynccontextmanager
async def opened_keyring(settings: FacadeSettings, counted: FacadeMetrics) -> AsyncIterator[Callable[[], Keyring]]:
    """Give what gives the keys that are valid at that moment, as long as the block lasts.

    Raises `ConfigurationError` for a keys file that is wrong, and where nobody would need a key beyond loopback.
    """
    kept = FollowedKeys(settings.keys_file, required=settings.keys_file_is_chosen())
    listed = settings.keys()
    if not listed and not kept.keys and not is_loopback(settings.listen):
        raise ConfigurationError(f"{settings.keys_file}:1: keys: it must hold a key to listen beyond loopback")
    made = kept.keys, Keyring(listed, kept.keys)

    def current() -> Keyring:
        nonlocal made
        if made[0] is not kept.keys:
            made = kept.keys, Keyring(listed, kept.keys)
        return made[1]

    following = asyncio.create_task(kept.follow(counted.note_keys_file), name="follow the keys file")
    try:
        yield current
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def usual_limits(settings: FacadeSettings) -> KeyLimits:
    """Give the limits of a key that has none of its own."""
    return KeyLimits(
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        tool_calls_per_minute=settings.tool_calls_per_minute,
        concurrent_streams=settings.concurrent_streams,
        stored_bytes=settings.stored_bytes,
    )


def rate_limits(settings: FacadeSettings, keyring: Callable[[], Keyring]) -> RateLimits:
    """Give what counts; a key's own limits go before those of the settings."""
    usual = usual_limits(settings)
    over = lru_cache(maxsize=_MOST_LIMITS)(KeyLimits.over)  # a request asks for them eight times
    return RateLimits(lambda identity: over(keyring().limits_of(identity), usual), SystemClock())
