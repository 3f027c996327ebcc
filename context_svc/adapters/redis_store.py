"""Threads and runs in a Redis or Valkey server that several processes share.

Every key begins with a prefix, `threadmesh:` unless said otherwise. A thread has a number of keys, as has a run:

    meta                        hash    generation, schema, commits, and the steady clock
    threads, ephemeral          zset    ids of the threads that are listed, and of those that are not, by last use
    by-key, keys                hash, zset   ids of threads by their keys; the keys in their order
    runs                        zset    ids of all runs by creation
    threads@<tenant>, runs@<tenant>   zset   those of a tenant who has a name
    leases, deadlines           zset    ids of the open runs by the end of their lease, by their deadline
    logs, inputs                zset    ids of the ended runs that still have events, or input, by their end
    receipts, receipts:expiry   hash, zset   receipts by their keys; the keys by expiry
    stored                      hash    bytes by tenants
    thread:<id>                 hash    the record, the key, how many items there are, the version that a change raises,
                                        how many bytes count, and those of them that stand in the hash itself
    thread:<id>:items           zset    items by their numbers
    thread:<id>:instructions    hash    by the digest of an instruction, where it was said first
    thread:<id>:runs, :open     zset    ids of its runs by creation, of its open ones by number
    thread:<id>:receipts        set     keys of its receipts
    run:<id>                    hash    thread, what is fixed, what changes, the lease, the bytes as those of threads
    run:<id>:input              list    the input until the run is claimed, or some time after it ended without that
    run:<id>:events             stream  batches of events; an entry's id is the number behind its last event
    run:<id>:calls, :results    hash    calls by id, and what has ended of them
    writer:<name>, synced       string  what became of a process's last batch, for an hour; written to wait for the disk

The channel `hints` tells of changes. The scripts in `redis_scripts` name keys that they find on their way, which a
cluster does not allow.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

from context_svc.adapters import redis_records as records
from context_svc.adapters.hints import Hint, Hints
from context_svc.adapters.log_page import page_of
from context_svc.adapters.redis_hints import Subscription
from context_svc.adapters.redis_server import PATIENCE_SECONDS, CredentialsRefused, RedisServer
from context_svc.adapters.redis_session import RedisSession
from context_svc.adapters.redis_time import ServerTime, Timekeeper
from context_svc.adapters.redis_writer import RedisWriter
from context_svc.adapters.rows import date, microseconds
from context_svc.domain.call import Call
from context_svc.domain.change import Scope
from context_svc.domain.item import Item
from context_svc.domain.ports import DIFFERENT_INSTRUCTIONS, Census, Cursor, Decide, Outcome
from context_svc.domain.run import Log, Run, RunState
from context_svc.domain.thread import Thread
from threadmesh.errors import MeshError, RunNotFound, StoreUnavailable, ThreadNotFound
from threadmesh.retry import persist
from threadmesh.retry_budget import unshared
from threadmesh.settings import ConfigurationError

PREFIX = "threadmesh:"

_START_SECONDS = 10.0
_LOG_BYTES = 1 << 20
_RECEIPTS_AT_ONCE = 1000
_ALL = 1 << 62
_OPEN = {RunState.QUEUED, RunState.RUNNING, RunState.REQUIRES_ACTION}


def boot_seconds() -> float:
    """Give seconds since this machine was started, those it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@asynccontextmanager
async def redis_store(
    url: str,
    timekeeper: Timekeeper | None = None,
    *,
    allow_unsafe: bool = False,
    prefix: str = PREFIX,
    seconds: Callable[[], float] = boot_seconds,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator["RedisStore"]:
    """Open the store in the server at `url`; closed when the block ends.

    The server's time counts unless another `timekeeper` is given. An operation that takes more than `patience` seconds
    raises `StoreUnavailable`. Waits ten seconds for a server that is not up yet and
    raises `StoreUnavailable`; raises `ConfigurationError` for a server that cannot be used, that can lose what it has
    acknowledged (unless `allow_unsafe`), or whose data a later version wrote.
    """
    server = RedisServer(url, patience=patience)
    session = RedisSession(
        server, prefix=prefix, unsafe=allow_unsafe, timekeeper=timekeeper or ServerTime(), seconds=seconds
    )
    writer, hints = RedisWriter(session), Hints()
    subscription = Subscription(server, hints, channel=f"{prefix}hints", own=writer.name)
    async with server.greeting(session.greet):
        await _wait_for(server)
        await session.upgrade()
        async with writer.working(), subscription.listening():
            yield RedisStore(session, writer, hints)


async def _wait_for(server: RedisServer) -> None:
    try:
        await persist(lambda: server.run("PING"), seconds=_START_SECONDS, budget=unshared())
    except CredentialsRefused as error:
        raise ConfigurationError(f"CONTEXT_STORE: the Redis server {server.place} refuses our credentials.") from error


class RedisStore:
    """Keeps threads and runs in Redis; what it acknowledges is in the server's append-only file, on the disk.

    Where the server does not wait for the disk itself (`appendfsync everysec`), acknowledgements and logs wait for it:
    nothing is shown that could be lost.
    """

    def __init__(self, session: RedisSession, writer: RedisWriter, hints: Hints) -> None:
        self._session = session
        self._writer = writer
        self._hints = hints

    async def change(self, scope: Scope, decide: Decide[Outcome]) -> Outcome:
        """See `Writer.change`.

        A lost connection is followed up, but not for longer than a second: `OutcomeUnknown`, a `StoreUnavailable`, says
        that the change may have been made. Whoever repeats his request learns it by its receipt or digest.
        """
        (outcome,) = await self.change_each([(scope, decide)])
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome

    async def change_each(self, wanted: Sequence[tuple[Scope, Decide[Outcome]]]) -> list[Outcome | MeshError]:
        """See `Writer.change_each`."""
        answers = await self._writer.write_each(wanted)
        await self._session.durable(self._writer.commits)
        outcomes: list[Outcome | MeshError] = []
        for answer in answers:
            if isinstance(answer, MeshError):
                outcomes.append(answer)
            elif isinstance(answer, Exception):
                raise answer
            else:
                change, outcome = answer
                self._hints.tell(change)
                outcomes.append(outcome)
        failed = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
        if failed and len(failed) == len(outcomes):
            raise failed[0]
        return outcomes

    async def thread(self, thread_id: str) -> Thread:
        """See `ThreadStore.thread`."""
        if record := await self._session.run("read_thread", thread_id):
            return records.load_thread(record)
        raise ThreadNotFound

    async def threads(
        self,
        *,
        key_prefix: str,
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
        ascending: bool = False,
    ) -> tuple[Thread, ...]:
        """See `ThreadStore.threads`."""
        place = _beyond(after, ascending=ascending)
        found = await self._session.run("list_threads", *place, limit, key_prefix, *_whose(tenant), int(ascending))
        return tuple(map(records.load_thread, found))

    async def items(self, thread_id: str, *, after: int | None, limit: int, descending: bool) -> tuple[Item, ...]:
        """See `ThreadStore.items`."""
        beyond = (_ALL if descending else -1) if after is None else after
        found = await self._session.run("read_items", thread_id, beyond, limit, int(descending))
        return records.load_items(thread_id, found)

    async def instructions(self, thread_id: str) -> tuple[Item, ...]:
        """See `ThreadStore.instructions`."""
        found = await self._session.run("read_instructions", thread_id, DIFFERENT_INSTRUCTIONS)
        return records.load_items(thread_id, found)

    async def idle_threads(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `ThreadStore.idle_threads`."""
        return _names(await self._session.run("list_idle", microseconds(before), limit))

    async def forget_receipts(self, *, before: datetime) -> int:
        """See `ThreadStore.forget_receipts`."""
        forgotten = 0
        while True:
            some = int(await self._session.run("forget_receipts", microseconds(before), _RECEIPTS_AT_ONCE))
            forgotten += some
            if some < _RECEIPTS_AT_ONCE:
                return forgotten

    async def run(self, run_id: str) -> Run:
        """See `RunStore.run`."""
        return _found(await self._session.run("read_run", run_id))

    async def runs(
        self,
        *,
        thread_id: str,
        states: tuple[RunState, ...],
        after: Cursor | None,
        limit: int,
        tenant: str | None = None,
    ) -> tuple[Run, ...]:
        """See `RunStore.runs`."""
        wanted = set(states or RunState)
        names = (state.value for state in wanted)
        only_open = int(wanted <= _OPEN)
        found = await self._session.run(
            "list_runs", *_beyond(after), limit, thread_id, only_open, *_whose(tenant), *names
        )
        return tuple(records.load_run(*each) for each in found)

    async def log(self, run_id: str, *, after: int) -> Log:
        """See `RunStore.log`."""
        # The id of the entry whose last event is the one behind `after`.
        run, found = await self._session.run("read_log", run_id, f"{after + 2}-0", _LOG_BYTES)
        await self._session.durable()
        batches = (batch for about, bodies in found for batch in records.load_batches(about, bodies))
        return Log(run=_found(run), events=page_of(batches, after=after))

    async def input(self, run_id: str) -> tuple[Item, ...]:
        """See `RunStore.input`."""
        thread_id, found = await self._session.run("read_input", run_id)
        return records.load_input(thread_id.decode(), found)

    async def calls(self, run_id: str) -> tuple[Call, ...]:
        """See `RunStore.calls`."""
        going, ended = await self._session.run("read_calls", run_id)
        calls = {call.id: call for call in map(records.load_call, (*going, *ended))}
        return tuple(sorted(calls.values(), key=lambda call: (call.ordinal, call.id)))

    def changes(self, topic: str) -> AbstractContextManager[Hint]:
        """See `RunStore.changes`."""
        return self._hints.follow(topic)

    async def overdue(self, *, abandoned_after: float, limit: int) -> tuple[str, ...]:
        """See `RunStore.overdue`."""
        now = (await self._session.now()).steady
        return _names(await self._session.run("list_overdue", repr(now), repr(now - abandoned_after), limit))

    async def ended_logs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_logs`."""
        return _names(await self._session.run("list_logs", microseconds(before), limit))

    async def ended_inputs(self, *, before: datetime, limit: int) -> tuple[str, ...]:
        """See `RunStore.ended_inputs`."""
        return _names(await self._session.run("list_inputs", microseconds(before), limit))

    async def compact(self, *, limit: int) -> int:
        """See `RunStore.compact`: a stream keeps its small entries together by itself."""
        del limit
        return 0

    async def stored(self, tenant: str) -> int:
        """See `Store.stored`."""
        return int(await self._session.run("read_stored", tenant))

    async def census(self) -> Census:
        """See `Store.census`."""
        now = await self._session.now()
        threads, found = await self._session.run("count")
        states = [RunState(state.decode()) for state, _ in found]
        queued = [int(made) for (_, made), state in zip(found, states, strict=True) if state is RunState.QUEUED]
        return Census(
            threads=int(threads),
            open_runs={state: states.count(state) for state in set(states)},
            oldest_queued_seconds=(now.time - date(min(queued))).total_seconds() if queued else 0.0,
        )

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._session.run("ping")


def _found(run: Sequence[Any]) -> Run:
    if run[0] is None:
        raise RunNotFound
    return records.load_run(*run)


def _names(found: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(name.decode() for name in found)


def _beyond(after: Cursor | None, *, ascending: bool = False) -> tuple[int, str]:
    return (microseconds(after.time), after.id) if after else (-_ALL if ascending else _ALL, "")


def _whose(tenant: str | None) -> tuple[int, str]:
    """Say whether only a tenant's are wanted, and whose."""
    return int(tenant is not None), tenant or ""
