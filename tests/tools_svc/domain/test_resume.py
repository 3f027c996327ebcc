"""Calls that are asked for once more: by whoever lost the stream, by the run's next owner, of a restarted service."""

import asyncio
from contextlib import aclosing

import pytest

from tests.tools_svc.domain.given import House, batch, house
from tests.tools_svc.domain.test_execute import Tool
from threadmesh.conversation import CallFinished, CallOutcome, CallStarted
from threadmesh.errors import ToolServerUnavailable
from tools_svc.domain.tool import Effect

RESUMED = batch("c", run_id="r", resumed=True)


async def begin(home: House, tool: Tool) -> None:
    """Begin the call and leave as soon as it was sent."""
    async with aclosing(home.executor.execute(batch("c", run_id="r"))) as events:
        await anext(events)
        await tool.begun.wait()


@pytest.mark.parametrize("effect", list(Effect))
async def test_a_call_of_which_nothing_is_known_goes_out_once_more_only_if_it_may(effect: Effect) -> None:
    tool = Tool()
    async with house(tool, effect=effect) as home:
        finished = await home.finished(RESUMED)

    repeated = effect is not Effect.UNSAFE
    assert len(tool.invocations) == repeated
    assert finished.outcome is (CallOutcome.SUCCEEDED if repeated else CallOutcome.UNKNOWN)
    assert repeated or (finished.failure is not None and finished.failure.reason == "ABORTED")


async def test_a_key_that_nobody_has_does_not_make_a_call_repeatable() -> None:
    tool = Tool()
    async with house(tool, effect=Effect.KEYED) as home:
        finished = await home.finished(batch("c", resumed=True))

    assert (tool.invocations, finished.outcome) == ([], CallOutcome.UNKNOWN)


async def test_a_call_that_goes_out_once_more_counts_its_tries() -> None:
    async with house(Tool(), effect=Effect.READ_ONLY) as home:
        events = await home.events(RESUMED)

    assert [event.event.attempt for event in events if isinstance(event.event, CallStarted)] == [2]


async def test_a_call_that_goes_out_once_more_and_reaches_nobody_stays_unknown() -> None:
    async with house(Tool(*[ToolServerUnavailable(server="s")] * 9), effect=Effect.IDEMPOTENT) as home:
        finished = await home.finished(RESUMED)

    assert finished.outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.UNSAFE])
async def test_a_call_that_is_under_way_is_followed(effect: Effect) -> None:
    tool = Tool()
    tool.gate.clear()
    async with house(tool, effect=effect) as home:
        await begin(home, tool)
        following = asyncio.create_task(home.finished(RESUMED))
        tool.gate.set()
        finished = await following

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.SUCCEEDED)


async def test_a_harmless_call_that_was_stopped_when_its_stream_broke_begins_anew() -> None:
    tool = Tool()
    tool.gate.clear()
    async with house(tool, effect=Effect.READ_ONLY) as home:
        await begin(home, tool)
        tool.gate.set()
        events = await home.events(RESUMED)

    assert len(tool.invocations) == 2
    assert [event.event.outcome for event in events if isinstance(event.event, CallFinished)] == [CallOutcome.SUCCEEDED]


async def test_a_call_that_a_person_stopped_does_not_begin_anew() -> None:
    tool = Tool()
    tool.gate.clear()
    async with house(tool, effect=Effect.READ_ONLY) as home:
        async with aclosing(home.executor.execute(batch("c", run_id="r"))) as events:
            await anext(events)
            await home.executor.cancel("r", "c")
        finished = await home.finished(RESUMED)

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.FAILED)


async def test_a_call_whose_tool_is_gone_is_not_said_to_have_failed() -> None:
    async with house(Tool()) as home:
        finished = await home.finished(batch("c", run_id="r", resumed=True, tool="s__gone"))

    assert finished.outcome is CallOutcome.UNKNOWN
    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_NOT_FOUND"
