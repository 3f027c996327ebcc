"""The connections to a Redis or Valkey server, and the scripts that run in it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from threadmesh.errors import Internal, MeshError, StoreFull, StoreGenerationChanged, StoreUnavailable
from threadmesh.settings import ConfigurationError

PATIENCE_SECONDS = 1.0
"""How long an operation takes at most if nobody says it."""

_ONE_ANSWER = 0.8
"""The part of that for which one answer of the server is waited for; the rest is to learn what became of a change."""

_SCRIPTS = Path(__file__).parent / "redis_scripts"
_WITH_SIZES = ("apply", "measure")
_WITH_LISTS = {"list_threads", "list_runs"}
_MOST_CONNECTIONS = 16
_AGAIN_SECONDS = 0.1
_PASSING = ("FENCED", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY")
"""Refusals of commands that may be accepted later."""

Argument = str | bytes | int | float
Greeting = Callable[["Ask"], Awaitable[None]]
"""What a new connection is used for before anything else."""


class Ask(Protocol):
    """Sends one command and gives its answer."""

    async def __call__(self, *words: Argument) -> Any:
        """Give the answer, or raise what `RedisServer.run` raises."""
        ...


class OutcomeUnknown(StoreUnavailable):
    """The connection to the store was lost before it answered."""


class CredentialsRefused(StoreUnavailable):
    """The store refuses our credentials."""

    retryable = False


class Scripts:
    """The texts of the scripts in `redis_scripts`, by their names."""

    def __init__(self) -> None:
        prelude, lists = _text("prelude"), _text("latest")
        self._texts = {path.stem: prelude + path.read_text() for path in _SCRIPTS.glob("*.lua")}
        self._texts |= {name: prelude + lists + _text(name) for name in _WITH_LISTS}
        self._texts |= {name: prelude + _text("sizes") + _text(name) for name in _WITH_SIZES}
        self._texts["open"] = _text("open")
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._texts.items()}  # noqa: S324  # Redis names scripts so

    async def run(self, ask: Ask, name: str, *arguments: Argument) -> Any:
        """Give a script's answer. A server that does not know it gets its text."""
        try:
            return await ask("EVALSHA", self._digests[name], 1, *arguments)
        except _UnknownScript:
            return await ask("EVAL", self._texts[name], 1, *arguments)


class RedisServer:
    """Runs commands in a server. No command is ever sent twice, and no answer is waited for longer than `patience`.

    Every new connection is greeted before it is used, so that a server that is not what it was is noticed.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self._greeting: Greeting | None = None
        self.patience = patience
        """How many seconds an operation takes at most, whatever it asks."""
        self.answer_seconds = _ONE_ANSWER * patience
        """How long one answer is waited for."""
        self._pool = _pool(url, self._greet, self.answer_seconds)

    @property
    def place(self) -> str:
        """Name the server for people, without its password."""
        known = self._pool.connection_kwargs
        return str(known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}")

    @asynccontextmanager
    async def greeting(self, greeting: Greeting) -> AsyncIterator[None]:
        """Greet every new connection until the block ends, and then close them all."""
        self._greeting = greeting
        try:
            yield
        finally:
            await self._pool.disconnect()

    async def run(self, *words: Argument) -> Any:
        """Give the answer to a command.

        Raises `OutcomeUnknown` when the connection was lost, `StoreFull`, `StoreGenerationChanged`,
        `StoreUnavailable` when the server refused the command for now, and `Internal`.
        """
        with translated():
            async with asyncio.timeout(self.answer_seconds):
                return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

    async def run_together(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """Give the answers to commands that go over one connection at once; raises as `run` does."""
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        with translated():
            async with asyncio.timeout(self.answer_seconds):
                return await pipeline.execute()

    def subscription(self) -> PubSub:
        """Give a connection for messages, not yet connected."""
        return self._client.pubsub()

    @cached_property
    def _client(self) -> Redis:
        return Redis(connection_pool=self._pool)

    async def _greet(self, connection: Any) -> None:
        async def ask(*words: Argument) -> Any:
            with translated():
                await connection.send_command(*words)
                return await connection.read_response()

        await connection.on_connect()
        if self._greeting is None:
            return
        try:
            await self._greeting(ask)
        except MeshError:
            await connection.disconnect(nowait=True)
            raise


async def stop(task: "asyncio.Task[None]") -> None:
    """End a task that uses the server. The driver can swallow a cancellation while it connects, so it is repeated."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SECONDS)


def _pool(url: str, greet: Callable[[Any], Awaitable[None]], seconds: float) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            url,
            protocol=2,
            max_connections=_MOST_CONNECTIONS,
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=greet,
        )
    except ValueError as error:
        raise ConfigurationError(f"CONTEXT_STORE: no address of a Redis server: {error}") from None


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors instead of the driver's."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise CredentialsRefused from error
    except exceptions.BusyLoadingError as error:
        raise StoreUnavailable(cause="LOADING") from error
    except exceptions.NoScriptError as error:
        raise _UnknownScript from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, TimeoutError, OSError) as error:
        if isinstance(error.__cause__, exceptions.AuthenticationError):  # what connecting to a Unix socket ends with
            raise CredentialsRefused from error
        raise OutcomeUnknown(cause=type(error).__name__) from error
    except exceptions.RedisError as error:
        raise _refused(error) from error


class _UnknownScript(StoreUnavailable):
    """The server does not know a script and has not run it."""


def _refused(error: exceptions.RedisError) -> MeshError:
    """Give the error for what the server said."""
    text = str(error)
    if "GENERATION" in text:
        return StoreGenerationChanged()
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text or "No space left" in text:
        return StoreFull()
    if isinstance(error, exceptions.ReadOnlyError):
        return StoreUnavailable(cause="READONLY")
    cause = next((word for word in _PASSING if word in text), "")
    return StoreUnavailable(cause=cause) if cause else Internal()


def _text(name: str) -> str:
    return (_SCRIPTS / f"{name}.lua").read_text()
