"""Tools of this process, under a policy, and an executor over them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from threadmesh.breaker import BreakerState
from threadmesh.clock import SystemClock
from threadmesh.conversation import CallFinished, ToolCall
from threadmesh.errors import MeshError
from threadmesh.retry_budget import unshared
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.inline_runner import InlineRunner
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.memory_pins import MemoryPins
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.adapters.memory_tasks import MemoryTasks
from tools_svc.adapters.pin_log import PinLog
from tools_svc.domain.call import Asked, Batch, Invocation, RunEvent, ToolOutput
from tools_svc.domain.capability import Capability
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.execute import Executor
from tools_svc.domain.execution import ANSWER_SECONDS
from tools_svc.domain.govern import govern
from tools_svc.domain.pins import Changes, Pins, Suspicious
from tools_svc.domain.plan import NO_APPROVALS
from tools_svc.domain.policy import MOST_PARALLEL, RETRIES, ServerPolicy, ToolPolicy
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.task import Ticket
from tools_svc.domain.task_book import TaskBook
from tools_svc.domain.tasks import Tasks
from tools_svc.domain.tool import ApprovalRule, Effect, OfferedTool
from tools_svc.domain.verify import Verify
from tools_svc.domain.watch import CatalogueWatcher

DEFINITION = "the present one"
"""The hash of the tool's definition."""

Run = Callable[[Invocation, Report], Awaitable[ToolOutput | Asked]]


@dataclass(slots=True)
class Ledger:
    """Hears of calls that ended, of further attempts and of defects."""

    calls: list[tuple[str, CallFinished]] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    defects: list[Exception] = field(default_factory=list)
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, tool: str, finished: CallFinished) -> None:
        self.calls.append((tool, finished))
        self.over.set()

    def retried(self, tool: str, error: MeshError) -> None:
        self.retries.append((tool, error.reason))

    def waiting(self, server: str, calls: int) -> None:
        if calls:
            self.waits.set()

    def cached(self, server: str, tool: str) -> None: ...

    def breaker(self, server: str, state: BreakerState, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One server `s` with one tool `t`, run by the test."""

    executor: Executor
    source: MemorySource
    ledger: Ledger

    async def finished(self, batch: Batch) -> CallFinished:
        """Run a batch of one call and give its end."""
        last = (await self.events(batch))[-1].event
        assert isinstance(last, CallFinished)
        return last

    async def finished_by_itself(self) -> None:
        """Wait until a call has ended, whoever listens."""
        async with asyncio.timeout(10):
            await self.ledger.over.wait()

    async def events(self, batch: Batch) -> list[RunEvent]:
        """Run a batch and give its events."""
        async with asyncio.timeout(10):
            return [event async for event in self.executor.execute(batch)]


@asynccontextmanager
async def house(
    run: Run,
    *,
    effect: Effect = Effect.UNSAFE,
    timeout_seconds: float = 5,
    output: str = "",
    retries: int = RETRIES,
    pause_seconds: float = 0,
    max_parallel: int = MOST_PARALLEL,
    approval: ApprovalRule = ApprovalRule.NEVER,
    clock: FakeClock | None = None,
    verify: Verify | None = None,
    finder: Run | None = None,
    finder_effect: Effect = Effect.READ_ONLY,
    answer_seconds: float = ANSWER_SECONDS,
    cache_seconds: float | None = None,
    capability: Capability | None = None,
    settled: asyncio.Event | None = None,
) -> AsyncIterator[House]:
    """Build the house around the tool's function until the block ends; its server may have a tool `find` besides.

    Servers had their chance to start once `settled` is set, where there is one.

    A `capability` is offered where there is one; its alternatives are the tools of this server.
    """
    offer = OfferedTool(
        name="t", parameters_json='{"type":"object"}', output_schema_json=output, definition_hash=DEFINITION
    )
    tools = {"t": MemoryTool(offer=offer, run=run)}
    if finder is not None:
        tools["find"] = MemoryTool(offer=OfferedTool(name="find", definition_hash="f"), run=finder)
    source = MemorySource("s", tools)
    ledger = Ledger()
    policy = ServerPolicy(
        timeout_seconds=timeout_seconds,
        effects={"t": effect, "find": finder_effect},
        max_parallel=max_parallel,
        tools={"t": ToolPolicy(retries=retries, approval=approval, verify=verify, cache_seconds=cache_seconds)},
    )
    watcher = watching()
    watcher.add(source, policy)
    following = asyncio.create_task(watcher.follow(source))
    await watcher.settled()
    governed: ToolSource = govern(source, policy, clock=SystemClock(), listener=ledger)
    sources = {"s": governed}
    capabilities = CapabilitySource(sources, catalogue=lambda: watcher.catalogue, clock=FakeClock())
    if capability is not None:
        capabilities.define([capability])
        sources[capabilities.name] = capabilities
        watcher.add(capabilities, ServerPolicy(timeout_seconds=timeout_seconds, hints_trusted=True, pinned=False))
    runner = InlineRunner(_refuse, lambda _: None, parallel=1, on_defect=ledger.defects.append)
    executor = Executor(
        sources,
        catalogue=lambda: watcher.catalogue,
        settled=settled.wait if settled else watcher.settled,
        tasks=Tasks(
            TaskBook(MemoryTasks(), retries=unshared()),
            runner,
            clock=FakeClock(),
            on_defect=ledger.defects.append,
        ),
        substitutes=capabilities,
        clock=clock or FakeClock(),
        listener=ledger,
        on_defect=ledger.defects.append,
        pause=lambda _: pause_seconds,
        answer_seconds=answer_seconds,
    )
    working = asyncio.create_task(executor.run())
    try:
        yield House(executor=executor, source=source, ledger=ledger)
    finally:
        following.cancel()
        working.cancel()
        await asyncio.gather(following, working, return_exceptions=True)


def watching(pins: Pins | None = None) -> CatalogueWatcher:
    """Give a watcher that has no sources yet, by itself one that keeps pins in memory."""
    in_memory = Pins(
        MemoryPins(), changes=Changes.QUARANTINE, suspicious=Suspicious.OFFER, clock=FakeClock(), listener=PinLog()
    )
    return CatalogueWatcher(
        schemas=JsonSchemaCompiler(),
        pins=pins or in_memory,
        clock=FakeClock(),
        on_dropped=lambda _: None,
        on_quarantined=lambda _: None,
    )


async def _refuse(_: Ticket) -> None:
    raise AssertionError("no tool of this house is queued")


def batch(
    *ids: str,
    run_id: str = "",
    timeout_seconds: float | None = None,
    resumed: bool = False,
    tool: str = "s__t",
    approvals: Mapping[str, str] = NO_APPROVALS,
    trusted_context: bool = False,
) -> Batch:
    """Make a batch of calls of the tool."""
    calls = tuple(ToolCall(id=each, name=tool, arguments_json="{}") for each in ids or ("c",))
    return Batch(
        calls=calls,
        run_id=run_id,
        timeout_seconds=timeout_seconds,
        resumed=resumed,
        approvals=approvals,
        trusted_context=trusted_context,
    )
