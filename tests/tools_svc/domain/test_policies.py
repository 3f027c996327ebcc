"""What the policies make of calls: turns, rates, the breaker and kept answers."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from threadmesh.breaker import Breaker, BreakerState
from threadmesh.conversation import Text
from threadmesh.errors import (
    MeshError,
    Overloaded,
    ToolAuthenticationFailed,
    ToolConnectionLost,
    ToolDefinitionChanged,
    ToolFailed,
    ToolQueueFull,
    ToolRateLimited,
    ToolServerFailed,
    ToolServerResting,
    ToolServerUnavailable,
)
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.domain.cached_source import CachedSource
from tools_svc.domain.call import Invocation, Sent, ToolOutput, Update, Waiting
from tools_svc.domain.guarded_source import GuardedSource
from tools_svc.domain.policy import ServerPolicy, ToolPolicy
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.queued_source import QueuedSource
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import Effect, Hints, OfferedTool

READS = {"t": Effect.READ_ONLY}
SILENT = Hints()


@dataclass(slots=True)
class Notes:
    """A listener that writes down what it hears."""

    waits: list[int] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    states: list[BreakerState] = field(default_factory=list)

    def waiting(self, server: str, calls: int) -> None:
        self.waits.append(calls)

    def cached(self, server: str, tool: str) -> None:
        self.hits.append(tool)

    def breaker(self, server: str, state: BreakerState, seconds: float) -> None:
        self.states.append(state)


class Tool:
    """A tool that waits for its gate and then fails with the given errors, one a call, or answers."""

    def __init__(self, *errors: MeshError, answer: ToolOutput | None = None) -> None:
        self.errors = list(errors)
        self.answer = answer or ToolOutput(parts=(Text(text="done"),))
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[str] = []
        self.most = self.now = 0

    async def __call__(self, invocation: Invocation, report: Report) -> ToolOutput:
        self.calls.append(invocation.call_id)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            return self.answer
        finally:
            self.now -= 1


def source(*, hints: Hints = SILENT, definition_hash: str = "1", **tools: Tool) -> MemorySource:
    return MemorySource("s", offers(hints=hints, definition_hash=definition_hash, **tools))


def offers(*, hints: Hints = SILENT, definition_hash: str = "1", **tools: Tool) -> dict[str, MemoryTool]:
    return {
        name: MemoryTool(offer=OfferedTool(name=name, hints=hints, definition_hash=definition_hash), run=tool)
        for name, tool in tools.items()
    }


def invocation(call_id: str = "c", tool: str = "t", /, *, seconds: float = 30, **arguments: object) -> Invocation:
    return Invocation(tool=tool, arguments=arguments, timeout_seconds=seconds, call_id=call_id)


async def updates(calls: ToolSource, wanted: Invocation) -> list[Update]:
    async with asyncio.timeout(10), aclosing(calls.call(wanted)) as given:
        return [update async for update in given]


async def settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)


def queued(
    inner: ToolSource, notes: Notes | None = None, clock: FakeClock | None = None, **policy: object
) -> QueuedSource:
    clock = clock or FakeClock()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0)

    rules = ServerPolicy(timeout_seconds=30, **policy)  # type: ignore[arg-type]  # each test names what it needs
    return QueuedSource(inner, rules, clock=clock, listener=notes or Notes(), check=lambda: None, sleep=sleep)


async def test_calls_beyond_the_limit_go_out_in_the_order_in_which_they_came() -> None:
    tool, notes = Tool(), Notes()
    line = queued(source(t=tool), notes, max_parallel=2)
    tool.gate.clear()
    calls = []
    for number in range(5):
        calls.append(asyncio.create_task(updates(line, invocation(str(number)))))
        await settled()
    assert tool.calls == ["0", "1"]
    assert notes.waits[-1] == 3

    tool.gate.set()
    given = await asyncio.gather(*calls)

    assert tool.calls == ["0", "1", "2", "3", "4"]
    assert tool.most == 2
    assert notes.waits[-1] == 0
    assert [each[0] for each in given] == [Sent(), Sent(), Waiting(), Waiting(), Waiting()]


async def test_a_call_whose_tool_becomes_another_one_while_it_waits_for_its_turn_is_not_sent() -> None:
    tool = Tool()
    server = source(t=tool)
    line = queued(server, max_parallel=1)
    tool.gate.clear()
    first = asyncio.create_task(updates(line, replace(invocation("first"), definition_hash="1")))
    await settled()
    second = asyncio.create_task(updates(line, replace(invocation("second"), definition_hash="1")))
    await settled()

    server.offer(offers(t=tool, definition_hash="2"))
    tool.gate.set()

    assert isinstance((await first)[-1], ToolOutput)
    with pytest.raises(ToolDefinitionChanged):
        await second
    assert tool.calls == ["first"]


async def test_a_call_that_finds_too_many_before_it_is_refused_at_once() -> None:
    tool = Tool()
    line = queued(source(t=tool), max_parallel=1, max_waiting=1)
    tool.gate.clear()
    held = [asyncio.create_task(updates(line, invocation(str(number)))) for number in range(2)]
    await settled()

    with pytest.raises(ToolQueueFull):
        await updates(line, invocation("late"))

    tool.gate.set()
    await asyncio.gather(*held)
    assert await updates(line, invocation("after"))
    assert tool.calls == ["0", "1", "after"]


async def test_calls_of_one_tool_that_must_wait_leave_the_server_to_others() -> None:
    slow, quick = Tool(), Tool()
    line = queued(source(t=slow, u=quick), max_parallel=2, tools={"t": ToolPolicy(max_parallel=1)})
    slow.gate.clear()
    held = [asyncio.create_task(updates(line, invocation(str(number)))) for number in range(4)]
    await settled()

    await updates(line, invocation("quick", "u"))

    assert slow.calls == ["0"]
    slow.gate.set()
    await asyncio.gather(*held)


async def test_a_call_cancelled_in_the_line_is_never_sent_and_takes_no_turn() -> None:
    tool = Tool()
    line = queued(source(t=tool), max_parallel=1)
    tool.gate.clear()
    first, second, third = (asyncio.create_task(updates(line, invocation(name))) for name in "abc")
    await settled()

    second.cancel()
    await asyncio.wait({second})
    tool.gate.set()
    await asyncio.gather(first, third)

    assert tool.calls == ["a", "c"]


async def test_a_rate_spreads_calls_and_refuses_at_once_what_would_come_too_late() -> None:
    tool, clock = Tool(), FakeClock()
    line = queued(source(t=tool), clock=clock, rate=Rate(per_second=2, burst=1))

    await updates(line, invocation("now"))
    await updates(line, invocation("later"))
    assert clock.monotonic() == 0.5
    with pytest.raises(ToolRateLimited) as error:
        await updates(line, invocation("too late", seconds=0.4))

    assert tool.calls == ["now", "later"]
    assert clock.monotonic() == 0.5
    assert error.value.retry_after == 0.5
    assert error.value.facts == {"retry_after_seconds": "0.500"}


@dataclass(slots=True)
class Guard:
    """A server behind a breaker."""

    tool: Tool
    clock: FakeClock = field(default_factory=FakeClock)
    notes: Notes = field(default_factory=Notes)
    inner: MemorySource = field(init=False)
    source: GuardedSource = field(init=False)

    def __post_init__(self) -> None:
        self.inner = source(t=self.tool)
        self.source = GuardedSource(self.inner, Breaker(self.clock), clock=self.clock, listener=self.notes)

    async def fail(self, times: int, error: type[MeshError]) -> None:
        for _ in range(times):
            with pytest.raises(error):
                await updates(self.source, invocation())


async def test_five_lost_connections_leave_a_server_alone_until_a_probe_is_answered() -> None:
    guard = Guard(Tool(*(ToolConnectionLost() for _ in range(5))))
    await guard.fail(5, ToolConnectionLost)

    with pytest.raises(ToolServerResting) as error:
        await updates(guard.source, invocation())
    assert error.value.reason == "TOOL_SERVER_UNAVAILABLE"
    assert error.value.retry_after == 5
    assert len(guard.tool.calls) == 5

    guard.clock.advance(5)
    await updates(guard.source, invocation())
    await updates(guard.source, invocation())

    assert guard.notes.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_while_a_probe_is_under_way_other_calls_are_refused() -> None:
    guard = Guard(Tool(*(ToolConnectionLost() for _ in range(5))))
    await guard.fail(5, ToolConnectionLost)
    guard.clock.advance(5)
    guard.tool.gate.clear()
    probe = asyncio.create_task(updates(guard.source, invocation()))
    await settled()

    await guard.fail(3, ToolServerResting)

    guard.tool.gate.set()
    await probe
    assert len(guard.tool.calls) == 6


@pytest.mark.parametrize("error", [ToolFailed, ToolServerFailed, ToolAuthenticationFailed, Overloaded])
async def test_what_a_server_answers_and_cancelled_calls_never_count(error: type[MeshError]) -> None:
    guard = Guard(Tool(*(error() for _ in range(30))))
    await guard.fail(30, error)
    for _ in range(30):
        async with aclosing(guard.source.call(invocation())) as calling:
            await anext(calling)

    await updates(guard.source, invocation())

    assert guard.notes.states == []


async def test_a_source_that_says_itself_that_it_is_away_needs_no_breaker() -> None:
    guard = Guard(Tool())
    guard.inner.fail(ToolServerUnavailable())
    await guard.fail(30, ToolServerUnavailable)

    guard.inner.offer(offers(t=guard.tool))
    await updates(guard.source, invocation())


async def test_calls_that_hear_nothing_in_all_of_their_time_count() -> None:
    guard = Guard(Tool())
    for _ in range(5):
        async with aclosing(guard.source.call(invocation(seconds=2))) as calling:
            await anext(calling)
            guard.clock.advance(2)

    with pytest.raises(ToolServerResting):
        guard.source.check()


def cached(inner: ToolSource, notes: Notes, clock: FakeClock | None = None) -> CachedSource:
    policy = ServerPolicy(timeout_seconds=30, effects=READS, tools={"t": ToolPolicy(cache_seconds=10)})
    return CachedSource(inner, policy, clock=clock or FakeClock(), listener=notes)


async def test_the_same_question_is_answered_from_what_was_kept_until_its_time_is_over() -> None:
    tool, notes, clock = Tool(), Notes(), FakeClock()
    shop = cached(source(t=tool), notes, clock)

    first = await updates(shop, invocation("1", a=1, b=[1.5, None]))
    clock.advance(9.9)
    again = await updates(shop, invocation("2", b=[1.5, None], a=1))
    clock.advance(0.1)
    await updates(shop, invocation("3", a=1, b=[1.5, None]))

    assert first == again
    assert tool.calls == ["1", "3"]
    assert notes.hits == ["t"]


async def test_other_arguments_and_other_definitions_are_other_questions() -> None:
    tool, notes = Tool(), Notes()
    inner = source(t=tool)
    shop = cached(inner, notes)

    await updates(shop, invocation("1", n=1))
    await updates(shop, invocation("2", n=1.0))
    await updates(shop, invocation("3", n="1"))
    inner.offer(offers(definition_hash="2", t=tool))
    await updates(shop, invocation("4", n=1))

    assert tool.calls == ["1", "2", "3", "4"]


async def test_a_tool_that_its_server_denies_to_be_read_only_is_asked_each_time() -> None:
    tool = Tool()
    shop = cached(source(hints=Hints(read_only=False), t=tool), Notes())

    await updates(shop, invocation("1"))
    await updates(shop, invocation("2"))

    assert tool.calls == ["1", "2"]


async def test_errors_are_not_kept() -> None:
    tool = Tool(answer=ToolOutput(is_error=True))
    shop = cached(source(t=tool), Notes())

    await updates(shop, invocation("1"))
    await updates(shop, invocation("2"))

    assert tool.calls == ["1", "2"]


async def test_questions_alike_share_one_call_and_the_next_asks_if_it_comes_to_nothing() -> None:
    tool = Tool()
    shop = cached(source(t=tool), Notes())
    tool.gate.clear()
    first, *others = (asyncio.create_task(updates(shop, invocation(str(number)))) for number in range(5))
    await settled()
    assert tool.calls == ["0"]

    first.cancel()
    await settled()
    assert tool.calls == ["0", "1"]
    tool.gate.set()
    given = await asyncio.gather(*others)

    assert tool.calls == ["0", "1"]
    assert len({each[-1] for each in given}) == 1
