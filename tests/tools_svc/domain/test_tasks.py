"""Calls that are tasks: they outlive streams and processes, and go out once, or more often only if they may."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from tests.tools_svc.domain.given import batch
from tests.tools_svc.domain.given_tasks import CALL, KEY, LEASE, Store, begin, died, process
from tests.tools_svc.domain.test_execute import DONE, Tool
from threadmesh.conversation import CallFinished, CallOutcome, CallProgress, CallStarted, ToolCall
from threadmesh.errors import CallNotFound, InvalidArgument, StaleEpoch
from threadmesh.testing.clock import FakeClock
from tools_svc.adapters.memory_source import Report
from tools_svc.domain.call import Invocation, ToolOutput
from tools_svc.domain.task import KEPT, MOST_CLAIMS, TaskKey, TaskState
from tools_svc.domain.tool import Effect


async def test_a_task_streams_as_any_other_call_and_its_progress_is_seen() -> None:
    seen = asyncio.Event()

    async def tool(_: Invocation, report: Report) -> ToolOutput:
        report(CallProgress(progress=1, total=2, message="half"))
        await seen.wait()
        return DONE

    async with process(tool) as home, asyncio.timeout(10), aclosing(home.executor.execute(CALL)) as stream:
        events = []
        async for event in stream:
            events.append(event.event)
            if isinstance(event.event, CallProgress):
                seen.set()

    assert [type(event) for event in events] == [CallStarted, CallProgress, CallFinished]
    assert events[0] == CallStarted(name="s__t", server="s", arguments_json="{}", attempt=1)
    assert isinstance(events[-1], CallFinished)
    assert (events[-1].outcome, events[-1].parts) == (CallOutcome.SUCCEEDED, DONE.parts)


async def test_a_task_does_not_need_listeners_and_asking_again_gives_its_result() -> None:
    tool = Tool()
    tool.gate.clear()
    async with process(tool) as home:
        await begin(home, tool)
        tool.gate.set()
        again = await home.finished()

    assert (len(tool.invocations), again.outcome) == (1, CallOutcome.SUCCEEDED)


@pytest.mark.parametrize("resumed", [False, True])
async def test_another_process_gives_the_result_without_a_second_execution(resumed: bool) -> None:
    tool, store = Tool(), Store()
    async with process(tool, store) as home:
        first = await home.finished()
    async with process(tool, store) as other:
        events = await other.events(replace(CALL, resumed=resumed))

    assert len(tool.invocations) == 1
    assert [type(event.event) for event in events] == [CallStarted, CallFinished]
    assert events[-1].event == first


async def test_what_was_queued_and_never_sent_is_started_after_a_restart() -> None:
    tool, store = Tool(), Store()
    async with process(tool, store, working=False) as home:
        asking = asyncio.ensure_future(home.events())
        while await store.get(KEY) is None:
            await asyncio.sleep(0)
        asking.cancel()
    async with process(tool, store) as other:
        finished = await other.finished(replace(CALL, resumed=True))

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.SUCCEEDED)


@pytest.mark.parametrize("effect", list(Effect))
async def test_a_task_whose_process_died_goes_out_again_only_if_it_may(effect: Effect) -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    await died(store, clock, effect=effect)
    clock.advance(LEASE + 1)
    async with process(tool, store, clock=clock, effect=effect) as home:
        events = await home.events()

    finished = events[-1].event
    assert isinstance(finished, CallFinished)
    assert len(tool.invocations) == (0 if effect is Effect.UNSAFE else 1)
    assert finished.outcome is (CallOutcome.UNKNOWN if effect is Effect.UNSAFE else CallOutcome.SUCCEEDED)


async def test_a_claim_is_left_alone_while_it_lasts() -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    await died(store, clock, effect=Effect.READ_ONLY)
    clock.advance(LEASE - 1)
    async with process(tool, store, clock=clock, effect=Effect.READ_ONLY, working=False) as home:
        await home.dispatcher.tend()
        task = await home.task()

    assert (task.state, tool.invocations) == (TaskState.CLAIMED, [])


async def test_a_task_that_ends_its_processes_is_given_up() -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    await died(store, clock, effect=Effect.IDEMPOTENT, claims=MOST_CLAIMS)
    clock.advance(LEASE + 1)
    async with process(tool, store, clock=clock, effect=Effect.IDEMPOTENT) as home:
        finished = await home.finished()

    assert (tool.invocations, finished.outcome) == ([], CallOutcome.UNKNOWN)


@pytest.mark.parametrize("effect", list(Effect))
async def test_a_process_that_stops_gives_its_task_back_or_says_that_nobody_knows(effect: Effect) -> None:
    tool, store = Tool(), Store()
    tool.gate.clear()
    async with process(tool, store, effect=effect) as home:
        await begin(home, tool)
    task = await store.get(KEY)

    assert task is not None
    if effect is Effect.UNSAFE:
        assert task.finished is not None
        assert task.finished.outcome is CallOutcome.UNKNOWN
    else:
        assert (task.state, task.sent) == (TaskState.QUEUED, True)


async def test_a_ticket_that_comes_twice_is_carried_once() -> None:
    tool, store = Tool(), Store()
    tool.gate.clear()
    async with process(tool, store) as home, process(tool, store, clock=home.clock) as other:
        await begin(home, tool)
        ticket = (await home.task()).ticket
        await asyncio.gather(other.carrier.carry(ticket), home.carrier.carry(ticket), home.runner.announce(ticket))
        tool.gate.set()
        await home.finished()
        await other.carrier.carry(ticket)

    assert len(tool.invocations) == 1


async def test_of_many_who_are_told_of_a_task_one_carries_it() -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    first, second = (process(tool, store, clock=clock, working=False) for _ in range(2))
    async with first as home, second as other:
        asking = asyncio.ensure_future(home.events())
        while await store.get(KEY) is None:
            await asyncio.sleep(0)
        ticket = (await home.task()).ticket
        await asyncio.gather(*(each.carrier.carry(ticket) for each in (home, other, home, other)))
        await asking

    assert len(tool.invocations) == 1


async def test_a_ticket_of_another_owner_of_the_run_does_nothing() -> None:
    tool, store = Tool(), Store()
    async with process(tool, store, working=False) as home:
        asking = asyncio.ensure_future(home.events())
        while await store.get(KEY) is None:
            await asyncio.sleep(0)
        await home.carrier.carry(replace((await home.task()).ticket, epoch=9))
        asking.cancel()

    assert tool.invocations == []


@pytest.mark.parametrize(("effect", "outcome"), [(Effect.READ_ONLY, "failed"), (Effect.UNSAFE, "unknown")])
async def test_a_task_is_stopped_while_it_runs(effect: Effect, outcome: str) -> None:
    tool = Tool()
    tool.gate.clear()
    async with process(tool, effect=effect) as home:
        await begin(home, tool)
        assert await home.executor.cancel("r", "c")
        finished = await home.finished()
        assert not await home.executor.cancel("r", "c")

    assert finished.outcome.value == outcome


async def test_a_task_that_waits_is_stopped_and_never_sent() -> None:
    tool = Tool()
    async with process(tool, working=False) as home:
        asking = asyncio.ensure_future(home.events())
        while await home.store.get(KEY) is None:
            await asyncio.sleep(0)
        assert await home.executor.cancel("r", "c")
        finished = (await asking)[-1].event

    assert isinstance(finished, CallFinished)
    assert (finished.outcome, tool.invocations) == (CallOutcome.CANCELLED, [])


async def test_a_process_that_did_not_ask_for_a_task_can_stop_the_one_that_carries_it() -> None:
    tool, store = Tool(), Store()
    tool.gate.clear()
    async with process(tool, store) as home, process(tool, store, clock=home.clock, working=False) as other:
        await begin(home, tool)
        assert await other.executor.cancel("r", "c")
        finished = await home.finished()
        with pytest.raises(CallNotFound):
            await other.executor.cancel("r", "other")

    assert finished.outcome is CallOutcome.UNKNOWN


async def test_a_task_that_nobody_takes_ends_unsent_when_its_time_is_over() -> None:
    async with process(Tool(), working=False) as home:
        asking = asyncio.ensure_future(home.events(replace(CALL, timeout_seconds=60)))
        while await home.store.get(KEY) is None:
            await asyncio.sleep(0)
        home.clock.advance(61)
        await home.dispatcher.tend()
        finished = (await asking)[-1].event

    assert isinstance(finished, CallFinished)
    assert finished.outcome is CallOutcome.FAILED
    assert finished.failure is not None
    assert finished.failure.reason == "DEADLINE_EXCEEDED"


async def test_a_result_is_kept_for_a_day() -> None:
    async with process(Tool()) as home:
        await home.finished()
        home.clock.advance(KEPT.total_seconds() - 1)
        await home.dispatcher.tend()
        assert (await home.task()).state is TaskState.FINISHED
        home.clock.advance(1)
        await home.dispatcher.tend()
        assert await home.store.get(KEY) is None


async def test_a_definition_that_changed_since_the_task_was_made_is_not_called() -> None:
    tool, store, clock = Tool(), Store(), FakeClock()
    await died(store, clock, effect=Effect.UNSAFE, claims=0)
    async with process(tool, store, clock=clock, definition_hash="another") as home:
        finished = await home.finished()

    assert (tool.invocations, finished.outcome) == ([], CallOutcome.FAILED)


async def test_one_id_stands_for_one_call_and_old_owners_are_refused() -> None:
    store = Store()
    async with process(Tool(), store) as home:
        await home.finished(replace(CALL, epoch=2))
    async with process(Tool(), store) as other:
        with pytest.raises(InvalidArgument):
            call = ToolCall(id="c", name="s__t", arguments_json='{"another":1}')
            await other.events(replace(CALL, calls=(call,), epoch=2))
        with pytest.raises(StaleEpoch):
            await other.events(replace(CALL, epoch=1))


async def test_persons_calls_with_one_id_are_two_tasks() -> None:
    tool = Tool()
    async with process(tool) as home:
        for _ in range(2):
            assert (await home.finished(batch("c"))).outcome is CallOutcome.SUCCEEDED

    assert len(tool.invocations) == 2
    assert len({invocation.run_id for invocation in tool.invocations}) == 2


async def test_a_store_that_is_away_for_a_while_costs_no_task() -> None:
    tool, store = Tool(), Store()
    async with process(tool, store) as home:
        tool.gate.clear()
        await begin(home, tool)
        store.away = True
        tool.gate.set()
        following = asyncio.ensure_future(home.finished())
        await asyncio.sleep(0)
        store.away = False
        finished = await following

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.SUCCEEDED)


async def test_what_ends_is_heard_of_and_counted() -> None:
    async with process(Tool()) as home:
        await home.finished()
        await home.dispatcher.tend()

    assert [task.key for task in home.heard.ended_tasks] == [TaskKey(run_id="r", call_id="c")]
    assert home.heard.counts == {TaskState.FINISHED: 1}


async def test_a_task_waits_while_its_server_is_away() -> None:
    tool, back = Tool(), asyncio.Event()
    asked = asyncio.Event()

    async def reach(_: str) -> bool:
        asked.set()
        return back.is_set()

    async with process(tool, reach=reach) as home, asyncio.timeout(10):
        asking = asyncio.ensure_future(home.events())
        await asked.wait()
        assert (await home.task()).state is TaskState.QUEUED
        back.set()
        home.clock.advance(home.runner.announce_seconds)
        await home.dispatcher.tend()
        await asking

    assert len(tool.invocations) == 1


async def test_another_process_can_watch_the_tasks_of_a_run() -> None:
    tool, store = Tool(), Store()
    tool.gate.clear()
    async with process(tool, store) as home, process(tool, store, clock=home.clock, working=False) as other:
        await begin(home, tool)
        async with asyncio.timeout(10), aclosing(other.executor.watch("r")) as events:
            first = await anext(events)
            tool.gate.set()
            rest = [event async for event in events]

    assert isinstance(first.event, CallStarted)
    assert isinstance(rest[-1].event, CallFinished)
    assert len(tool.invocations) == 1


async def test_a_broker_that_is_away_costs_no_task_and_is_tried_again() -> None:
    tool = Tool()
    async with process(tool) as home, asyncio.timeout(10):
        home.runner.away = True
        asking = asyncio.ensure_future(home.events())
        while not home.heard.troubles:
            await asyncio.sleep(0)
        home.runner.away = False
        home.clock.advance(10)
        await home.dispatcher.tend()
        await asking

    assert set(home.heard.troubles) == {"UNAVAILABLE"}
    assert len(tool.invocations) == 1
