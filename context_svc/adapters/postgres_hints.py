"""Tells of changes between processes that share a PostgreSQL store, by LISTEN and NOTIFY."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import psycopg
import structlog

from context_svc.adapters.hints import Hints, topics
from context_svc.adapters.postgres_connections import Connection, Connections
from context_svc.domain.change import Change
from threadmesh.errors import MeshError

log = structlog.get_logger()

_PAUSE_SECONDS = 0.25
_PREPARE_SECONDS = 60.0
_PAYLOAD_BYTES = 7_900  # https://www.postgresql.org/docs/current/sql-notify.html: less than 8000
# A transaction that notifies holds a lock of the whole server while it is flushed, so that all others wait for it one
# by one. So changes notify nobody: hints follow in a transaction of their own, which is not flushed.
_NOTIFY = """
    SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload
"""


class SharedHints:
    """Wakes the followers of this process at once and, shortly after, those of the others.

    What is told while the server is asked to pass on earlier hints travels together. A hint can be lost with the
    connection; when the listening connection was lost, everybody is woken once it is there again.
    """

    def __init__(self, connections: Connections, *, channel: str, hints: Hints) -> None:
        self._connections = connections
        self._channel = channel
        self._hints = hints
        self._origin = uuid.uuid4().hex
        self._waiting: dict[str, None] = {}
        self._told = asyncio.Event()
        self._reported = ""

    def tell(self, changes: Iterable[Change]) -> None:
        """Wake those whom stored changes concern."""
        names = dict.fromkeys(topic for change in changes for topic in topics(change))
        self._hints.wake(names)
        self._waiting |= names
        if names:
            self._told.set()

    @asynccontextmanager
    async def shared(self, prepare: Callable[[Connection], Awaitable[None]]) -> AsyncIterator[None]:
        """Exchange hints until the block ends; each new listening connection is given to `prepare` first."""
        tasks = [asyncio.create_task(self._listen(prepare)), asyncio.create_task(self._pass_on())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            names, self._waiting = self._waiting, {}
            payloads = list(_payloads(self._origin, names))
            try:
                await self._connections.use(partial(self._notify, payloads))
            except MeshError as error:
                log.debug("store.hints_lost", reason=error.reason)
            except Exception as error:  # a defect must not end the passing on
                log.error("store.hints_defect", exc_info=error)

    async def _notify(self, payloads: list[str], connection: Connection) -> None:
        await connection.execute(_NOTIFY, [self._channel, payloads])

    async def _listen(self, prepare: Callable[[Connection], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(self._connections.patience):
                    connection = await self._connections.open()
                try:
                    await self._listen_with(connection, prepare)
                finally:
                    connection.hang_up()
            except (psycopg.Error, MeshError, TimeoutError) as error:
                if self._reported != str(error):  # an outage of hours is not reported four times a second
                    log.warning("store.listener_lost", error=str(error))
                self._reported = str(error)
            except Exception as error:  # a defect must not end the listening
                log.error("store.listener_defect", exc_info=error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen_with(self, connection: Connection, prepare: Callable[[Connection], Awaitable[None]]) -> None:
        async with asyncio.timeout(_PREPARE_SECONDS):
            await prepare(connection)
            await connection.execute(f'LISTEN "{self._channel}"')
            if self._reported:
                log.info("store.listener_back")
                self._reported = ""
        self._hints.wake_all()
        async with aclosing(connection.notifies()) as notifications:
            async for notification in notifications:
                origin, *names = notification.payload.split(" ")
                if origin != self._origin:
                    self._hints.wake(names)


def _payloads(origin: str, names: Iterable[str]) -> Iterator[str]:
    payload = origin
    for name in names:
        if len(payload) + len(name) >= _PAYLOAD_BYTES:
            yield payload
            payload = origin
        payload += f" {name}"
    yield payload
