"""Which of several tools does what they can do alike, and what happens when it cannot."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools_svc.domain.test_execute import DONE, Tool
from threadmesh.breaker import BreakerState
from threadmesh.conversation import Text
from threadmesh.errors import (
    DeadlineExceeded,
    MeshError,
    ToolConnectionLost,
    ToolFailed,
    ToolQueueFull,
    ToolServerUnavailable,
)
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.jsonschema_compiler import JsonSchemaCompiler
from tools_svc.adapters.memory_source import MemorySource, MemoryTool, Report
from tools_svc.domain.call import Invocation, Sent, ToolOutput, Update
from tools_svc.domain.capability import Alternative, Capability, Pulse, distrusts, ranked, strictest
from tools_svc.domain.capability_source import CapabilitySource
from tools_svc.domain.catalog import Catalogue, Shelf, shelve
from tools_svc.domain.policy import ServerPolicy, ToolPolicy
from tools_svc.domain.tool import ApprovalRule, Effect, OfferedTool, Rest, ServerState, ServerStatus

OBJECT = '{"type":"object"}'
ASKED = Invocation(tool="search", arguments={"query": "tea"}, timeout_seconds=30, call_id="c")
SEARCH = Capability(
    name="search",
    description="Search.",
    parameters_json=OBJECT,
    alternatives=(
        Alternative(tool="a__find", arguments={"query": "q"}, fixed={"safe": True}),
        Alternative(tool="b__find"),
        Alternative(tool="c__find", preference=1),
    ),
)


def shelf(
    server: str,
    *,
    effect: Effect = Effect.READ_ONLY,
    state: ServerState = ServerState.READY,
    approval: ApprovalRule = ApprovalRule.NEVER,
    untrusted: bool = False,
    parameters: str = OBJECT,
    timeout_seconds: float = 9,
) -> Shelf:
    policy = ServerPolicy(
        timeout_seconds=timeout_seconds,
        effects={"find": effect},
        tools={"find": ToolPolicy(approval=approval, untrusted=untrusted)},
    )
    offer = OfferedTool(name="find", parameters_json=parameters)
    return shelve(server, ServerStatus(state=state, tools=(offer,)), policy, JsonSchemaCompiler())


def catalogue(*shelves: Shelf) -> Catalogue:
    return Catalogue(shelves={each.server.name: each for each in shelves})


ALL = catalogue(shelf("a"), shelf("b"), shelf("c"))


def order(shown: Catalogue, pulses: dict[str, Pulse] | None = None) -> list[str]:
    return [each.alternative.tool[0] for each in ranked(SEARCH, shown, pulses or {}) if not each.hindrance]


def rested(one: Shelf) -> Shelf:
    rest = Rest(state=BreakerState.OPEN, retry_time=datetime(2026, 1, 1, tzinfo=UTC))
    return replace(one, server=replace(one.server, rest=rest))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ALL, "abc"),
        (catalogue(shelf("a", state=ServerState.UNAVAILABLE), shelf("b"), shelf("c")), "bc"),
        (catalogue(rested(shelf("a")), shelf("b"), shelf("c")), "bc"),
        (catalogue(shelf("a", approval=ApprovalRule.ALWAYS), shelf("b"), shelf("c")), "bc"),
        (catalogue(shelf("a", approval=ApprovalRule.AFTER_UNTRUSTED), shelf("b"), shelf("c")), "bc"),
        (catalogue(shelf("c")), "c"),
        (catalogue(), ""),
    ],
)
def test_only_what_can_be_called_is_asked(shown: Catalogue, expected: str) -> None:
    assert "".join(order(shown)) == expected
    hindered = [each.hindrance for each in ranked(SEARCH, shown, {}) if each.alternative.tool[0] not in expected]
    assert all(hindered)


def test_of_those_that_are_preferred_alike_the_reliable_and_then_the_fast_one_is_asked() -> None:
    assert order(ALL, {"a__find": Pulse(seconds=2.0), "b__find": Pulse(seconds=1.0)}) == ["b", "a", "c"]
    assert order(ALL, {"a__find": Pulse(seconds=1.0, failing=0.6), "b__find": Pulse(seconds=9.0)}) == ["b", "a", "c"]


@given(st.lists(st.one_of(st.none(), st.floats(0, 60)), max_size=60))
def test_what_is_known_of_a_tool_stays_within_what_was_seen(calls: list[float | None]) -> None:
    pulse = Pulse()
    for seconds in calls:
        pulse.failed() if seconds is None else pulse.answered(seconds)

    answered = [seconds for seconds in calls if seconds is not None]
    assert 0 <= pulse.failing <= 1
    assert (pulse.seconds is None) == (not answered)
    if pulse.seconds is not None:
        assert min(answered) - 1e-9 <= pulse.seconds <= max(answered) + 1e-9


@given(st.permutations(["a", "b", "c"]), st.dictionaries(st.sampled_from(["a__find", "b__find"]), st.floats(0, 1)))
def test_a_rank_does_not_depend_on_the_order_of_servers(names: list[str], failing: dict[str, float]) -> None:
    pulses = {tool: Pulse(seconds=1.0, failing=share) for tool, share in failing.items()}

    assert order(catalogue(*map(shelf, names)), pulses) == order(ALL, pulses)
    assert order(ALL, pulses)[-1] == "c"


def test_a_capability_is_as_strict_as_its_strictest_tool() -> None:
    mixed = catalogue(shelf("a"), shelf("b", effect=Effect.IDEMPOTENT), shelf("other", effect=Effect.UNSAFE))

    assert strictest(SEARCH, ALL) is Effect.READ_ONLY
    assert strictest(SEARCH, mixed) is Effect.IDEMPOTENT
    assert strictest(SEARCH, catalogue()) is Effect.UNSAFE


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ALL, False),
        (catalogue(shelf("a"), shelf("b"), shelf("c", untrusted=True), shelf("other")), True),
        (catalogue(shelf("a"), shelf("b"), shelf("c", state=ServerState.UNAVAILABLE)), False),
        (catalogue(shelf("a"), shelf("b"), shelf("other")), True),  # nobody knows what c says
    ],
)
def test_a_capability_is_trusted_as_little_as_any_of_its_tools(shown: Catalogue, expected: bool) -> None:
    source = house(shown)
    (offer,) = source.status.tools

    assert distrusts(SEARCH, shown) is expected
    assert offer.hints.open_world is expected


def house(shown: Catalogue = ALL, **tools: Tool) -> CapabilitySource:
    sources = {
        name: MemorySource(name, {"find": MemoryTool(offer=OfferedTool(name="find"), run=run)})
        for name, run in tools.items()
    }
    source = CapabilitySource(sources, catalogue=lambda: shown, clock=FakeClock())
    source.define([SEARCH])
    return source


async def answered(source: CapabilitySource) -> list[Update]:
    async with aclosing(source.call(ASKED)) as updates:
        return [update async for update in updates]


async def test_the_best_tool_gets_the_call_in_its_own_words() -> None:
    first, second = Tool(), Tool()
    given = await answered(house(a=first, b=second))

    assert given == [Sent(by="a"), DONE]
    assert [each.arguments for each in first.invocations] == [{"q": "tea", "safe": True}]
    assert second.invocations == []


@pytest.mark.parametrize("error", [ToolServerUnavailable(), ToolQueueFull()])
async def test_what_was_not_sent_goes_to_the_next(error: MeshError) -> None:
    given = await answered(house(a=Tool(error), b=Tool()))

    assert given[-2:] == [Sent(by="b"), DONE]


@pytest.mark.parametrize(("effect", "asked"), [(Effect.READ_ONLY, 1), (Effect.IDEMPOTENT, 1), (Effect.UNSAFE, 0)])
async def test_what_was_sent_goes_to_the_next_only_if_it_may_be_repeated(effect: Effect, asked: int) -> None:
    second = Tool()
    shown = catalogue(shelf("a", effect=effect), shelf("b", effect=effect))
    source = house(shown, a=Tool(ToolConnectionLost()), b=second)
    if asked:
        await answered(source)
    else:
        with pytest.raises(ToolConnectionLost):
            await answered(source)

    assert len(second.invocations) == asked


@pytest.mark.parametrize(("effect", "asked"), [(Effect.READ_ONLY, 1), (Effect.IDEMPOTENT, 1), (Effect.UNSAFE, 0)])
async def test_a_tool_has_its_own_time_and_the_next_what_is_left(effect: Effect, asked: int) -> None:
    first, second = Tool(), Tool()
    first.gate.clear()
    source = house(catalogue(shelf("a", effect=effect, timeout_seconds=0.05), shelf("b")), a=first, b=second)
    async with asyncio.timeout(10):
        if asked:
            await answered(source)
        else:
            with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
                await answered(source)

    assert [each.timeout_seconds for each in first.invocations] == [0.05]
    assert [each.timeout_seconds for each in second.invocations] == [9] * asked
    assert [each.alternative.tool for each in source.ranking(SEARCH) if each.pulse.failing] == ["a__find"]


async def test_a_tool_has_no_more_time_than_the_call() -> None:
    only = Tool()
    await answered(house(catalogue(shelf("a", timeout_seconds=3_600)), a=only))

    assert [each.timeout_seconds for each in only.invocations] == [ASKED.timeout_seconds]


async def test_an_answer_is_an_answer_also_when_it_is_an_error() -> None:
    async def wrong(invocation: Invocation, report: Report) -> ToolOutput:
        return ToolOutput(parts=(Text(text="no such thing"),), is_error=True)

    second = Tool()
    sources = {
        "a": MemorySource("a", {"find": MemoryTool(offer=OfferedTool(name="find"), run=wrong)}),
        "b": MemorySource("b", {"find": MemoryTool(offer=OfferedTool(name="find"), run=second)}),
    }
    source = CapabilitySource(sources, catalogue=lambda: ALL, clock=FakeClock())
    source.define([SEARCH])
    given = await answered(source)

    assert isinstance(given[-1], ToolOutput)
    assert given[-1].is_error
    assert second.invocations == []


async def test_a_tool_that_fails_loses_its_rank() -> None:
    source = house(a=Tool(*[ToolConnectionLost()] * 9), b=Tool())
    for _ in range(3):
        await answered(source)

    assert [each.alternative.tool for each in source.ranking(SEARCH)][:2] == ["b__find", "a__find"]


async def test_without_anybody_who_can_the_call_has_reached_nobody() -> None:
    with pytest.raises(ToolServerUnavailable, match="search"):
        await answered(house(catalogue()))


async def test_once_something_was_sent_nobody_says_that_nothing_was() -> None:
    source = house(a=Tool(ToolConnectionLost()), b=Tool(ToolServerUnavailable()))
    with pytest.raises(ToolConnectionLost):
        await answered(source)


async def test_an_error_of_its_own_is_passed_on() -> None:
    with pytest.raises(ToolFailed):
        await answered(house(a=Tool(ToolFailed()), b=Tool()))
