"""What tests of context_svc begin with: messages, runs and writes."""

import atexit
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from pathlib import Path

from context_svc.adapters import postgres_time, redis_time, sizes
from context_svc.adapters.memory_store import MemoryStore
from context_svc.adapters.postgres_store import postgres_store
from context_svc.adapters.redis_store import redis_store
from context_svc.adapters.sqlite_store import sqlite_store
from context_svc.domain.append_events import Write, append_events
from context_svc.domain.call import Call
from context_svc.domain.change import Moment
from context_svc.domain.claim import claim
from context_svc.domain.item import NewItem, new_item
from context_svc.domain.ports import Store
from context_svc.domain.run import Event, Multitask, Run, RunFinished, RunState
from context_svc.domain.start import Started, StartRequest, start
from context_svc.domain.watch import watch
from tests.servers.postgres import PostgresServer
from tests.servers.valkey import ValkeyServer
from threadmesh.conversation import FinishReason, Message, Role, Text, ToolCall, message
from threadmesh.testing.clock import FakeClock

OpenStore = Callable[[Path, FakeClock], AbstractAsyncContextManager[Store]]

_PATIENCE_SECONDS = 10.0
"""How long operations may take where no outage is tried: the machine that tests run on can stand still for a second."""

patient_postgres = partial(postgres_store, patience=_PATIENCE_SECONDS)
patient_redis = partial(redis_store, patience=_PATIENCE_SECONDS)

SUCCEEDED = RunFinished(state=RunState.SUCCEEDED, reason=FinishReason.STOP)


@asynccontextmanager
async def memory(_: Path, clock: FakeClock) -> AsyncIterator[Store]:
    yield MemoryStore(clock)


@asynccontextmanager
async def sqlite(directory: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with sqlite_store(directory / "context.db", clock) as store:
        yield store


class FakeTime:
    """Takes the time of a PostgreSQL store from a clock of the test instead of the server."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def moment(self, reading: postgres_time.Reading) -> Moment:
        """Give the clock's moment."""
        return Moment(time=self._clock.now(), steady=self._clock.monotonic())


class GivenTime:
    """Takes the time of a Redis store from a clock of the test instead of the server."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def moment(self, reading: redis_time.Reading, correct: redis_time.Correct) -> Moment:
        """Give the clock's moment."""
        del reading, correct
        return Moment(time=self._clock.now(), steady=self._clock.monotonic())


@cache
def postgres_server() -> PostgresServer:
    """The server of this test session, started by the first who needs it."""
    server = PostgresServer().__enter__()
    atexit.register(server.__exit__, None, None, None)
    return server


def schema_of(url: str) -> str:
    """The schema in an address that the server gave."""
    return url.partition("schema=")[2]


@asynccontextmanager
async def postgres(_: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with patient_postgres(postgres_server().url(), FakeTime(clock)) as store:
        yield store


@cache
def valkey_server() -> ValkeyServer:
    """The server of this test session, started by the first who needs it."""
    server = ValkeyServer().__enter__()
    atexit.register(server.__exit__, None, None, None)
    return server


_numbers = itertools.count()


def new_prefix() -> str:
    """What the keys of a Redis store that nobody has used begin with."""
    return f"test-{next(_numbers)}:"


@asynccontextmanager
async def redis(_: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """A store of its own among the others of the session's server."""
    async with patient_redis(valkey_server().url, GivenTime(clock), prefix=new_prefix()) as store:
        yield store


STORES: dict[str, OpenStore] = {"memory": memory, "sqlite": sqlite, "postgres": postgres, "redis": redis}


def said(text: str, role: Role = Role.USER, *, tokens: int = 0) -> NewItem:
    return new_item(message(role, text), tokens=tokens)


def asking(*calls: str) -> NewItem:
    """An assistant's message that asks for tools."""
    tool_calls = tuple(ToolCall(id=each, name="time__now", arguments_json="{}") for each in calls)
    return new_item(Message(role=Role.ASSISTANT, tool_calls=tool_calls))


def result(call: str, text: str = "noon") -> NewItem:
    """A tool's message."""
    return new_item(Message(role=Role.TOOL, parts=(Text(text=text),), tool_call_id=call))


async def started(
    store: Store,
    *,
    thread_key: str = "",
    thread_id: str = "",
    text: str = "hello",
    key: str = "",
    fingerprint: str = "one",
    multitask: Multitask = Multitask.ENQUEUE,
    timeout: float = 600.0,
    instead_of: str = "",
    number: int | None = None,
) -> Started:
    request = StartRequest(
        thread_id=thread_id,
        number=number,
        thread_key=thread_key,
        input=(said(text),),
        parameters_json='{"model":"small"}',
        idempotency_key=key,
        fingerprint=fingerprint,
        multitask=multitask,
        timeout=timeout,
        instead_of=instead_of,
    )
    return await start(request, store=store)


async def queued(store: Store, thread_key: str = "", *, timeout: float = 600.0) -> Run:
    return (await started(store, thread_key=thread_key, timeout=timeout)).run


async def claimed(store: Store, clock: FakeClock, run: Run, *, owner: str = "facade-1") -> Run:
    return await claim(run.id, owner=owner, patience=0, store=store, clock=clock)


async def running(store: Store, clock: FakeClock, thread_key: str = "") -> Run:
    return await claimed(store, clock, await queued(store, thread_key))


def writing(
    run: Run,
    *bodies: bytes,
    first: int | None = None,
    epoch: int | None = None,
    items: tuple[NewItem, ...] = (),
    calls: tuple[Call, ...] = (),
    finished: RunFinished | None = None,
) -> Write:
    first = run.next_sequence if first is None else first
    epoch = run.epoch if epoch is None else epoch
    content = repr((run.id, epoch, first, bodies, items, calls, finished))
    return Write(
        run_id=run.id,
        epoch=epoch,
        first_sequence=first,
        bodies=bodies,
        items=items,
        calls=calls,
        digest=hashlib.sha256(content.encode()).hexdigest(),
        finished=finished,
    )


async def appended(store: Store, run: Run, *bodies: bytes) -> Run:
    return await append_events(writing(run, *bodies), store=store)


async def finished(store: Store, run: Run, *bodies: bytes, items: tuple[NewItem, ...] = ()) -> Run:
    return await append_events(writing(run, *bodies, items=items, finished=SUCCEEDED), store=store)


async def texts(store: Store, thread_id: str) -> list[str]:
    """Every item's text; checks on the way that the numbers have no gaps."""
    items = await store.items(thread_id, after=None, limit=10_000, descending=False)
    assert [item.sequence for item in items] == list(range(len(items)))
    return [item.message.text for item in items]


async def stored_exactly(store: Store, tenant: str) -> int:
    """What is stored, as the store says and as whoever reads all of it finds."""
    runs = await store.runs(thread_id="", states=(), after=None, limit=999, tenant=tenant)
    listed = await store.threads(key_prefix="", after=None, limit=999, tenant=tenant)
    names = {thread.id for thread in listed} | {run.thread_id for run in runs}
    items = [await store.items(name, after=None, limit=9999, descending=False) for name in names]
    items += [await store.input(run.id) for run in runs]
    events = [(await store.log(run.id, after=-1)).events for run in runs]
    bodies = [event.body for event in itertools.chain(*events) if isinstance(event.body, bytes)]
    found = (
        sum([sizes.thread_bytes(await store.thread(name)) for name in names])
        + sum(map(sizes.run_bytes, runs))
        + sum(map(sizes.item_bytes, itertools.chain(*items)))
        + sum([sizes.call_bytes(call) for run in runs for call in await store.calls(run.id)])
        + sum(sizes.EVENT + len(body) for body in bodies)
    )
    assert await store.stored(tenant) == found
    return found


async def whole_log(store: Store, run_id: str, *, after: int = -1) -> list[Event]:
    """The log of an ended run."""
    return [event async for piece in watch(run_id, after=after, store=store, heartbeat=0.01) for event in piece]


async def at_once(store: Store, thread_key: str) -> Run:
    """Start a run whose writer wants it at once; gives it."""
    request = StartRequest(input=(said("hello"),), timeout=600.0, thread_key=thread_key, owner="facade-1")
    return (await start(request, store=store)).run
