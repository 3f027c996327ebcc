"""What a process knows of the Redis store that it works with, and how it talks to it."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog

from context_svc.adapters.redis_safety import (
    ServerFacts,
    ask_facts,
    lost_promises,
    refuse_unsafe,
    refuse_unsuitable,
)
from context_svc.adapters.redis_server import Argument, Ask, OutcomeUnknown, RedisServer, Scripts
from context_svc.adapters.redis_time import Reading, Timekeeper, reading_of
from context_svc.domain.change import Moment
from context_svc.domain.lease import LEASE_SECONDS
from threadmesh.errors import StoreUnavailable
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

SCHEMA = 2
"""The version of the keys and of what stands in them; since 2, threads and runs say how many bytes of them count."""

_WAIT_MILLISECONDS = 700


class RedisSession:
    """The store as this process knows it: its generation, and the number of commits that it has seen.

    Both go with every script, which refuses to run on other data (`StoreGenerationChanged`): after FLUSHALL there is
    another generation or none, and a server that lost its last writes has made fewer commits. Whoever has seen nothing
    of what was lost, such as a process that starts afterwards, cannot notice it.
    """

    def __init__(
        self, server: RedisServer, *, prefix: str, unsafe: bool, timekeeper: Timekeeper, seconds: Callable[[], float]
    ) -> None:
        self.prefix = prefix
        self.server = server
        self._unsafe = unsafe
        self._timekeeper = timekeeper
        self._seconds = seconds
        self._scripts = Scripts()
        self._generation = ""
        self._schema = 0
        self._commits = 0
        self._facts: ServerFacts | None = None
        self._greeting = asyncio.Lock()
        self._syncing = asyncio.Lock()
        self._asked = self._synced = 0

    async def run(self, script: str, *arguments: Argument) -> Any:
        """Give the answer of a script that may run twice; raises as `RedisServer.run`."""
        return await self._run(self._ask, script, *arguments)

    async def run_once(self, script: str, *arguments: Argument) -> Any:
        """Give the answer of a script that must not run twice; raises as `RedisServer.run`."""
        return await self._run(self.server.run, script, *arguments)

    async def run_timed(self, script: str, *arguments: Argument) -> tuple[Moment, list[Any]]:
        """Give the answer of a script that tells the time, and the moment at which it ran; otherwise as `run`."""
        return await self._run_timed(self._ask, script, *arguments)

    async def now(self) -> Moment:
        """Give the store's time."""
        return (await self.run_timed("time"))[0]

    async def upgrade(self) -> None:
        """Count what an earlier version has stored, thread by thread; what is counted already may be counted again."""
        if self._schema == SCHEMA:
            return
        for index in ("threads", "ephemeral"):
            cursor = None
            while cursor != 0:
                cursor, found = await self.server.run("ZSCAN", f"{self.prefix}{index}", cursor or 0)
                for thread_id, _ in found:
                    await self.run("measure", thread_id)
        await self.run("upgrade", SCHEMA)
        self._schema = SCHEMA

    async def durable(self, commits: int = 0) -> None:
        """Return once what this process has been told is on the disk, up to so many commits.

        Those who ask at once wait together. Raises `StoreUnavailable`.
        """
        if self._facts and not self._facts.waits_for_disk and self._facts.can_wait:
            await self._sync()
        self._commits = max(self._commits, commits)

    async def greet(self, ask: Ask) -> None:
        """Look whether a new connection leads to the server that is known; get to know one that is not."""
        facts = await ask_facts(ask)
        async with self._greeting:
            if self._facts and self._facts.run_id == facts.run_id:
                return
            self._examine(facts)
            if not self._generation:
                await self._open(ask)
            moment, _ = await self._run_timed(ask, "time")
            await self._run(ask, "extend", repr(moment.steady + LEASE_SECONDS))
            self._facts = facts

    async def _ask(self, *words: Argument) -> Any:
        """Ask again over another connection when one that lay idle turns out to be dead."""
        try:
            return await self.server.run(*words)
        except OutcomeUnknown as error:
            if error.facts["cause"] == "TimeoutError":
                raise
        return await self.server.run(*words)

    def _examine(self, facts: ServerFacts) -> None:
        try:
            refuse_unsuitable(facts)
            if not self._unsafe:
                refuse_unsafe(facts)
        except ConfigurationError as error:
            if self._facts is None:
                raise
            raise StoreUnavailable(error.message) from error
        for promise in lost_promises(facts):
            log.warning("store.unsafe", given_up="Acknowledged writes survive the death of the server.", why=promise)

    async def _open(self, ask: Ask) -> None:
        generation, schema, commits, _, _ = await self._scripts.run(ask, "open", self.prefix, uuid4().hex, SCHEMA)
        if int(schema) > SCHEMA:
            raise ConfigurationError(
                f"CONTEXT_STORE: the Redis store was written by a later version of threadmesh (schema {int(schema)}, "
                f"this one knows {SCHEMA}); start that version, or name another database."
            )
        self._generation, self._schema, self._commits = generation.decode(), int(schema), int(commits)

    async def _run(self, ask: Ask, script: str, *arguments: Argument) -> Any:
        return await self._scripts.run(ask, script, self.prefix, self._generation, self._commits, *arguments)

    async def _run_timed(self, ask: Ask, script: str, *arguments: Argument) -> tuple[Moment, list[Any]]:
        asked = self._seconds()
        time, correction, *rest = await self._run(ask, script, *arguments)
        reading = reading_of((time, correction), asked=asked, answered=self._seconds())
        return await self._moment(ask, reading), rest

    async def _moment(self, ask: Ask, reading: Reading) -> Moment:
        async def correct(seen: int, jump: int) -> None:
            log.warning("store.clock_jumped", seconds=jump / 1e6)
            await self._run(ask, "correct", seen, jump)

        return await self._timekeeper.moment(reading, correct)

    async def _sync(self) -> None:
        """Write something and wait for it: the file is in order, so all before it is on the disk as well."""
        self._asked += 1
        mine = self._asked
        async with self._syncing:
            if self._synced >= mine:
                return
            covered = self._asked
            written = await self.server.run_together(
                ("SET", f"{self.prefix}synced", covered), ("WAITAOF", 1, 0, _WAIT_MILLISECONDS)
            )
            if written[1][0] < 1:
                raise OutcomeUnknown(cause="fsync")
            self._synced = covered
