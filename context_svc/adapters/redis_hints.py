"""Brings the changes that other processes have made in Redis to those who wait in this one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio.client import PubSub

from context_svc.adapters.hints import Hints
from context_svc.adapters.redis_server import OutcomeUnknown, RedisServer, stop, translated
from threadmesh.errors import MeshError

_LISTEN_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


class Subscription:
    """Hears of other processes' changes as long as there is a connection.

    A connection that brings nothing for a second is asked for a sign of life, and given up after another. Whenever one
    is lost or made, everybody is woken to look for what may have been missed.
    """

    def __init__(self, server: RedisServer, hints: Hints, *, channel: str, own: str) -> None:
        self._server = server
        self._hints = hints
        self._channel = channel
        self._own = own
        self._connected = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen until the block ends; it begins when changes are heard of, or after a second without a connection."""
        task = asyncio.create_task(self._keep_listening(), name="redis-subscription")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LISTEN_SECONDS):
                    await self._connected.wait()
            yield
        finally:
            await stop(task)

    async def _keep_listening(self) -> None:
        while True:
            subscription = self._server.subscription()
            with suppress(MeshError):
                await self._listen(subscription)
            self._connected.clear()
            self._hints.wake_all()
            with suppress(MeshError), translated():
                await subscription.aclose()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen(self, subscription: PubSub) -> None:
        with translated():
            await subscription.subscribe(self._channel)
            asked = False
            while True:
                message = await subscription.get_message(timeout=_LISTEN_SECONDS)
                if message:
                    asked = False
                    self._hear(message["type"], message["data"])
                elif asked:
                    raise OutcomeUnknown(cause="silence")
                else:
                    asked = True
                    await subscription.ping()

    def _hear(self, kind: str, data: bytes | int) -> None:
        if kind == "subscribe":
            self._connected.set()
            self._hints.wake_all()
        elif kind == "message" and isinstance(data, bytes):
            writer, *topics = data.decode().split()
            if writer != self._own:
                self._hints.wake(topics)
