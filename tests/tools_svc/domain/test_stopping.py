"""Calls that are left, cancelled, asked for again, or out of time before their turn."""

import asyncio
from contextlib import aclosing

import pytest

from tests.tools_svc.domain.given import batch, house
from tests.tools_svc.domain.test_execute import DONE, Tool, endless
from threadmesh.conversation import CallFinished, CallOutcome, Text
from threadmesh.errors import (
    CallNotFound,
    ToolServerUnavailable,
)
from tools_svc.adapters.memory_source import Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.tool import Effect


async def test_leaving_a_batch_stops_a_harmless_call() -> None:
    async with house(endless, effect=Effect.READ_ONLY) as home, asyncio.timeout(10):
        async with aclosing(home.executor.execute(batch(run_id="r"))) as events:
            await anext(events)
        rest = [event.event async for event in home.executor.watch("r", 1)]

    assert isinstance(rest[-1], CallFinished)
    assert rest[-1].failure is not None
    assert rest[-1].failure.reason == "CANCELLED"


async def test_leaving_a_batch_does_not_stop_a_call_that_may_change_something() -> None:
    gate = asyncio.Event()

    async def waiting(invocation: Invocation, report: Report) -> ToolOutput:
        await gate.wait()
        return DONE

    async with house(waiting, effect=Effect.UNSAFE) as home, asyncio.timeout(10):
        async with aclosing(home.executor.execute(batch(run_id="r"))) as events:
            await anext(events)
        gate.set()
        rest = [event.event async for event in home.executor.watch("r", 1)]

    assert isinstance(rest[-1], CallFinished)
    assert rest[-1].outcome is CallOutcome.SUCCEEDED


@pytest.mark.parametrize("effect", Effect)
async def test_a_call_cancelled_before_it_was_sent_is_never_sent(effect: Effect) -> None:
    tool = Tool()
    async with house(tool, effect=effect) as home, asyncio.timeout(10):
        reading = asyncio.create_task(home.finished(batch(run_id="r")))
        await asyncio.wait({reading}, timeout=0)
        assert await home.executor.cancel("r", "c")
        finished = await reading

    assert finished.outcome is CallOutcome.CANCELLED
    assert tool.invocations == []


@pytest.mark.parametrize(
    ("effect", "outcome"), [(Effect.READ_ONLY, CallOutcome.FAILED), (Effect.UNSAFE, CallOutcome.UNKNOWN)]
)
async def test_a_call_cancelled_after_it_was_sent_ends_by_its_effect(effect: Effect, outcome: CallOutcome) -> None:
    async with (
        asyncio.timeout(10),
        house(endless, effect=effect) as home,
        aclosing(home.executor.execute(batch(run_id="r"))) as events,
    ):
        await anext(events)
        assert await home.executor.cancel("r", "c")
        rest = [event.event async for event in events]

    assert isinstance(rest[-1], CallFinished)
    assert rest[-1].outcome is outcome


async def test_a_call_that_ended_is_not_cancelled() -> None:
    async with house(Tool()) as home:
        await home.events(batch(run_id="r"))

        assert not await home.executor.cancel("r", "c")
        with pytest.raises(CallNotFound):
            await home.executor.cancel("r", "other")


async def test_a_call_asked_for_again_gives_its_events_again_without_running() -> None:
    tool = Tool()
    async with house(tool) as home:
        first = await home.events(batch("a", run_id="r"))
        both = await home.events(batch("a", "b", run_id="r"))

    assert both[: len(first)] == first
    assert len(tool.invocations) == 2


async def test_a_refused_call_is_refused_the_same_way_again() -> None:
    async with house(Tool()) as home:
        home.source.fail(ToolServerUnavailable())
        first = await home.finished(batch(run_id="r"))
        home.source.offer({})
        again = await home.finished(batch(run_id="r"))

    assert again == first


@pytest.mark.parametrize("effect", Effect)
async def test_a_call_whose_time_is_over_before_its_turn_was_never_sent_and_says_so(effect: Effect) -> None:
    tool = Tool()
    tool.gate.clear()
    async with house(tool, effect=effect, max_parallel=1) as home, asyncio.timeout(10):
        first = asyncio.create_task(home.finished(batch("first", run_id="r")))
        await tool.begun.wait()
        second = await home.finished(batch("second", timeout_seconds=0.01))
        tool.gate.set()
        await first

    assert second.outcome is CallOutcome.FAILED
    assert second.parts == (Text(text="The call waited for its turn for 0.01 s and was not sent."),)
    assert [invocation.call_id for invocation in tool.invocations] == ["first"]


@pytest.mark.parametrize("effect", Effect)
async def test_a_call_cancelled_before_its_turn_was_never_sent_and_says_so(effect: Effect) -> None:
    tool = Tool()
    tool.gate.clear()
    async with house(tool, effect=effect, max_parallel=1) as home, asyncio.timeout(10):
        first = asyncio.create_task(home.finished(batch("first", run_id="r")))
        await tool.begun.wait()
        second = asyncio.create_task(home.finished(batch("second", run_id="r")))
        await home.ledger.waits.wait()
        assert await home.executor.cancel("r", "second")
        finished = await second
        tool.gate.set()
        await first

    assert finished.outcome is CallOutcome.CANCELLED
    assert finished.parts == (Text(text="It was stopped while it waited for its turn; it was not sent."),)
    assert [invocation.call_id for invocation in tool.invocations] == ["first"]
