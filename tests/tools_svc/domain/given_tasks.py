"""A process that takes and carries tasks, over a store that outlives it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from tests.tools_svc.domain.given import Ledger, Run, batch, watching
from tests.tools_svc.domain.test_execute import Tool
from threadmesh.conversation import CallFinished
from threadmesh.errors import MeshError, StoreUnavailable, Unavailable
from threadmesh.retry_budget import unshared
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.inline_runner import InlineRunner
from tools_svc.adapters.memory_source import MemorySource, MemoryTool
from tools_svc.adapters.memory_tasks import MemoryTasks
from tools_svc.domain.call import Batch, RunEvent
from tools_svc.domain.capability import Alternative, Capability
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.carry import TaskCarrier
from tools_svc.domain.dispatch import TaskDispatcher
from tools_svc.domain.execute import Executor
from tools_svc.domain.policy import ServerPolicy, ToolPolicy
from tools_svc.domain.task import Task, TaskKey, TaskState, Ticket
from tools_svc.domain.task_book import TaskBook
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.tool import Effect, OfferedTool
from tools_svc.domain.verify import Verify

KEY = TaskKey(run_id="r", call_id="c")
CALL = batch("c", run_id="r")
LEASE = 15.0
DO = Capability(
    name="do",
    description="Do it.",
    parameters_json='{"type":"object"}',
    alternatives=(Alternative(tool="s__t", arguments={"how": "manner"}),),
)
"""A capability of the tool: `any__do`."""
FOREVER = timedelta(days=1)


class Store(MemoryTasks):
    """A store that can be away."""

    away = False

    async def get(self, key: TaskKey, *, after: int = 0) -> Task | None:
        self._check()
        return await super().get(key, after=after)

    async def add(self, task: Task) -> Task:
        self._check()
        return await super().add(task)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable


class Runner(InlineRunner):
    """A runner that can be away."""

    away = False

    async def announce(self, ticket: Ticket) -> None:
        if self.away:
            raise Unavailable
        await super().announce(ticket)


@dataclass(slots=True)
class Heard:
    """Hears of tasks."""

    ended_tasks: list[Task] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    counts: dict[TaskState, int] = field(default_factory=dict)

    def began(self, task: Task) -> None: ...

    def ended(self, task: Task) -> None:
        self.ended_tasks.append(task)

    def counted(self, counts: object) -> None:
        self.counts = dict(counts)  # type: ignore[call-overload]  # a mapping, as the port says

    def troubled(self, error: MeshError) -> None:
        self.troubles.append(error.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One process over a store: one server `s` with one queued tool `t`."""

    executor: Executor
    carrier: TaskCarrier
    dispatcher: TaskDispatcher
    runner: Runner
    source: MemorySource
    store: Store
    clock: FakeClock
    heard: Heard

    async def finished(self, asked: Batch = CALL) -> CallFinished:
        last = (await self.events(asked))[-1].event
        assert isinstance(last, CallFinished)
        return last

    async def events(self, asked: Batch = CALL) -> list[RunEvent]:
        async with asyncio.timeout(10):
            return [event async for event in self.executor.execute(asked)]

    async def task(self, key: TaskKey = KEY) -> Task:
        task = await self.store.get(key)
        assert task is not None
        return task


async def _at_once(_: str) -> bool:
    return True


@asynccontextmanager
async def process(
    tool: Run,
    store: Store | None = None,
    *,
    effect: Effect = Effect.UNSAFE,
    clock: FakeClock | None = None,
    definition_hash: str = "h",
    working: bool = True,
    parallel: int = 8,
    reach: Callable[[str], Awaitable[bool]] = _at_once,
    verify: Verify | None = None,
    finder: Run | None = None,
    server: MemorySource | None = None,
) -> AsyncIterator[House]:
    """Run a process until the block ends; without `working` it takes calls and carries none."""
    offer = OfferedTool(name="t", parameters_json='{"type":"object"}', definition_hash=definition_hash)
    tools = {"t": MemoryTool(offer=offer, run=tool)}
    if finder is not None:
        tools["find"] = MemoryTool(offer=OfferedTool(name="find", definition_hash="f"), run=finder)
    source = server or MemorySource("s", tools)
    store, clock = store or Store(), clock or FakeClock()
    policy = ServerPolicy(
        timeout_seconds=3600,
        effects={"t": effect, "find": Effect.READ_ONLY},
        tools={"t": ToolPolicy(queued=True, verify=verify)},
    )
    watcher = watching()
    watcher.add(source, policy)
    following = asyncio.create_task(watcher.follow(source))
    await watcher.settled()
    book, ledger, heard = TaskBook(store, retries=unshared()), Ledger(), Heard()
    carrier = TaskCarrier(
        book,
        {"s": source},
        catalogue=lambda: watcher.catalogue,
        reach=reach,
        owner=f"process {id(source)}",
        lease_seconds=LEASE,
        clock=clock,
        calls=ledger,
        tasks=heard,
        on_defect=ledger.defects.append,
        pause=lambda _: 0,
    )
    runner = Runner(carrier.carry, carrier.stop, parallel=parallel, on_defect=ledger.defects.append)
    dispatcher = TaskDispatcher(book, runner, clock=clock, listener=heard)
    capabilities = CapabilitySource({"s": source}, catalogue=lambda: watcher.catalogue, clock=clock)
    capabilities.define([DO])
    watcher.add(capabilities, ServerPolicy(timeout_seconds=3600, hints_trusted=True, pinned=False))
    executor = Executor(
        {"s": source, "any": capabilities},
        catalogue=lambda: watcher.catalogue,
        settled=watcher.settled,
        tasks=Tasks(book, runner, clock=clock, on_defect=ledger.defects.append),
        substitutes=capabilities,
        clock=clock,
        listener=ledger,
        on_defect=ledger.defects.append,
    )
    work = [executor.run(), *([dispatcher.run(), runner.run()] if working else [])]
    running = [following, *(asyncio.create_task(each) for each in work)]
    try:
        yield House(
            executor=executor,
            carrier=carrier,
            dispatcher=dispatcher,
            runner=runner,
            source=source,
            store=store,
            clock=clock,
            heard=heard,
        )
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert ledger.defects == []


async def begin(home: House, tool: Tool) -> None:
    """Ask for the call and leave once it runs."""
    async with asyncio.timeout(10), aclosing(home.executor.execute(CALL)) as events:
        asking = asyncio.ensure_future(anext(events))
        await tool.begun.wait()
        await asking


async def died(
    store: Store, clock: FakeClock, *, effect: Effect, claims: int = 1, verify: Verify | None = None
) -> None:
    """Leave the record as a process does that is killed in the middle of the task."""
    tool = Tool()
    async with process(tool, store, clock=clock, effect=effect, working=False, verify=verify) as home:
        asking = asyncio.ensure_future(home.events())
        while (task := await store.get(KEY)) is None:
            await asyncio.sleep(0)
        asking.cancel()
    claim = task
    for _ in range(claims):
        claim = claim.claimed("who is gone", clock.now(), until=clock.now() + timedelta(seconds=LEASE))
    assert await store.put(claim)
