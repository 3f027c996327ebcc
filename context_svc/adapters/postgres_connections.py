"""Connections to PostgreSQL, each lent to one user at a time, and its errors in our words."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from context_svc.adapters.postgres_address import Address
from context_svc.adapters.postgres_time import ClockMoved, boot_seconds
from threadmesh.errors import Internal, InvalidArgument, MeshError, StoreFull, StoreUnavailable

Result = TypeVar("Result")

PATIENCE_SECONDS = 1.0
"""How long an operation takes at most if nobody says it, waiting for a connection and for locks included."""

# Commits are flushed whatever the default of the server, the database or the role is; only more than that is kept.
_FLUSHED = """
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.05
_MOST = 10
_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than any of our statements
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html: the server ended the session, or could not begin it.
# A plan of before a migration fits its tables no more (0A000); a new session makes new ones.
_ENDS = ("08", "57P", "25P03", "25P04", "0A000")
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection that is hung up when its user is cancelled, for a server that hangs answers no request to cancel.

    When it was lent, the server had not answered this process for `away` seconds.
    """

    away: float = 0.0

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:  # noqa: ARG002, ASYNC109  # psycopg's signature
        """Hang up."""
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection without a word that could block."""
        self.pgconn.finish()


class Connections:
    """Up to ten connections, opened when they are needed; an operation takes `patience` seconds at most.

    psycopg's own pool waits longer and longer between its attempts to reach a server that is away; here the first who
    asks after its return finds it.
    """

    def __init__(self, address: Address, *, patience: float = PATIENCE_SECONDS) -> None:
        self._address = address
        self.patience = patience
        self._places = asyncio.Semaphore(_MOST)
        self._free: list[Connection] = []
        self.ready = False
        """Whether the server is known to be safe and to have our tables."""
        self._away_since: float | None = None

    async def use(self, job: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Give the job's result in time or not at all.

        The job is repeated when its connection turns out to be dead, at deadlocks, and when the clock was moved; what
        it must not repeat, it reports by a `MeshError`. What it leaves open is rolled back. Raises `StoreUnavailable`.
        """
        if not self.ready:
            raise StoreUnavailable(cause="not prepared")
        with translated():
            async with asyncio.timeout(self.patience):
                for attempt in range(1, _ATTEMPTS):
                    try:
                        return await self._attempt_in_time(job)
                    except _AGAIN:
                        await asyncio.sleep(random.uniform(0, attempt * _PAUSE_SECONDS))  # noqa: S311  # no secret
                    except psycopg.Error as error:
                        if not lost(error):
                            raise
                return await self._attempt_in_time(job)

    async def open(self) -> Connection:
        """Open a connection of one's own, which looks into our schema first; every statement commits by itself."""
        connection = await Connection.connect(self._address.conninfo, autocommit=True, row_factory=dict_row)
        settings = {"search_path": self._address.schema, **_SETTINGS, **_limits(self.patience)}
        calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
        try:
            await connection.execute(
                f"SELECT {_FLUSHED}, {calls}", [part for each in settings.items() for part in each]
            )
        except BaseException:
            connection.hang_up()
            raise
        return connection

    async def once(self, job: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Give the job's result, with a connection of its own, without limits; raises psycopg's errors."""
        connection = await self.open()
        try:
            return await job(connection)
        finally:
            connection.hang_up()

    def close(self) -> None:
        """Close what nobody uses."""
        while self._free:
            self._free.pop().hang_up()

    async def _attempt_in_time(self, job: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Set the clock where that has to be, which is no failure: also behind the last of several lost connections."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt(job)
            except ClockMoved as moved:
                await self._attempt(moved.amend)
        raise StoreUnavailable(cause="the clock does not come to rest")

    async def _attempt(self, job: Callable[[Connection], Awaitable[Result]]) -> Result:
        try:
            async with self._lent() as connection:
                connection.away = boot_seconds() - self._away_since if self._away_since else 0.0
                result = await job(connection)
        except (psycopg.Error, asyncio.CancelledError):
            self._away_since = self._away_since or boot_seconds()
            raise
        self._away_since = None
        return result

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        async with self._places:
            connection = self._free.pop() if self._free else await self.open()
            try:
                yield connection
            except (MeshError, ClockMoved, *_AGAIN):
                await self._take_back(connection)
                raise
            except BaseException as error:
                connection.hang_up()
                if isinstance(error, psycopg.Error) and lost(error):
                    self.close()  # the others have been lost with it
                raise
            await self._take_back(connection)

    async def _take_back(self, connection: Connection) -> None:
        if connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
            await connection.execute("ROLLBACK")
        if connection.info.transaction_status is TransactionStatus.IDLE:
            self._free.append(connection)
        else:
            connection.hang_up()


def _limits(patience: float) -> dict[str, str]:
    """Let the server give up what we have given up, and what a process that was stopped in the middle has locked."""
    milliseconds = round(1000 * patience)
    return {
        "statement_timeout": str(milliseconds),
        "lock_timeout": str(milliseconds),
        "idle_in_transaction_session_timeout": str(2 * milliseconds),
    }


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors instead of psycopg's and of a time that has run out."""
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailable(cause="timeout") from error
    except psycopg.Error as error:
        raise _meaning(error) from error


def lost(error: psycopg.Error) -> bool:
    """Say whether the connection was lost, so that what it was doing may or may not have been done."""
    state = error.sqlstate or ""
    return state.startswith(_ENDS) if state else isinstance(error, errors.OperationalError)


def _meaning(error: psycopg.Error) -> MeshError:
    state = error.sqlstate or ""
    if isinstance(error, errors.DiskFull):
        return StoreFull()
    if isinstance(error, errors.OperationalError | errors.ReadOnlySqlTransaction) or lost(error):
        return StoreUnavailable(cause=state or "connection")
    if isinstance(error, errors.DataError) and not state:  # psycopg refuses NUL before anything is sent
        return InvalidArgument("A text may not contain the character NUL.")
    return Internal()
