"""Tasks that the server itself keeps, and those of capabilities."""

import asyncio
from dataclasses import replace

import pytest

from tests.tools_svc.domain.given_tasks import CALL, Store, begin, process
from tests.tools_svc.domain.test_execute import Tool
from threadmesh.conversation import CallOutcome, ToolCall
from threadmesh.errors import InvalidArgument
from tools_svc.adapters.memory_source import MemorySource, MemoryTool
from tools_svc.domain.call import Batch, Invocation
from tools_svc.domain.tool import OfferedTool


def keeper(tool: Tool) -> MemorySource:
    """Make a server that keeps calls, which outlives the processes that call it."""
    offer = OfferedTool(name="t", parameters_json='{"type":"object"}', definition_hash="h")
    return MemorySource("s", {"t": MemoryTool(offer=offer, run=tool, keeps=True)})


async def test_a_task_that_its_server_keeps_is_asked_for_by_the_next_process_and_not_sent_again() -> None:
    tool, store = Tool(), Store()
    tool.gate.clear()
    server = keeper(tool)
    async with process(tool, store, server=server) as home:
        await begin(home, tool)
        while not (await home.task()).handle:
            await asyncio.sleep(0)
    tool.gate.set()
    async with process(tool, store, server=server) as other:
        finished = await other.finished()

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.SUCCEEDED)


async def test_a_task_that_is_cancelled_is_stopped_where_it_is_kept() -> None:
    tool = Tool()
    tool.gate.clear()
    server = keeper(tool)
    async with process(tool, server=server) as home:
        await begin(home, tool)
        await home.executor.cancel("r", "c")
        finished = await home.finished()
        again = await answered(server, handle="c")

    assert (finished.outcome, again) == (CallOutcome.UNKNOWN, "stopped")


async def answered(server: MemorySource, *, handle: str) -> str:
    """Ask the server for a call that it keeps."""
    try:
        async with asyncio.timeout(10):
            call = Invocation(tool="t", arguments={}, timeout_seconds=1, call_id="c", handle=handle)
            return str([update async for update in server.call(call)][-1])
    except asyncio.CancelledError:
        return "stopped"


ANY = Batch(calls=(ToolCall(id="c", name="any__do", arguments_json='{"how": "well"}'),), run_id="r")


async def test_a_call_of_a_capability_that_a_queued_tool_does_is_a_task_of_that_tool() -> None:
    tool, store = Tool(), Store()
    async with process(tool, store) as home:
        finished = await home.finished(ANY)
        task = await home.task()

    assert (task.call, task.server) == (ToolCall(id="c", name="s__t", arguments_json='{"manner":"well"}'), "s")
    assert (finished.outcome, tool.invocations[0].arguments) == (CallOutcome.SUCCEEDED, {"manner": "well"})


@pytest.mark.parametrize("resumed", [False, True])
async def test_such_a_call_is_found_again_by_the_next_process(resumed: bool) -> None:
    tool, store = Tool(), Store()
    async with process(tool, store) as home:
        await home.finished(ANY)
    async with process(tool, store) as other:
        finished = await other.finished(replace(ANY, resumed=resumed))

    assert (len(tool.invocations), finished.outcome) == (1, CallOutcome.SUCCEEDED)


async def test_such_a_call_is_found_again_by_whoever_watched_its_run() -> None:
    tool, store = Tool(), Store()
    async with process(tool, store) as home:
        await home.finished(ANY)
    async with process(tool, store) as other:
        watched = [event async for event in other.executor.watch("r")]
        finished = await other.finished(ANY)

    assert watched[-1].event == finished
    assert len(tool.invocations) == 1


@pytest.mark.parametrize("call", [replace(ANY.calls[0], arguments_json="{}"), replace(CALL.calls[0], name="any__do")])
async def test_its_id_stands_for_no_other_call(call: ToolCall) -> None:
    store = Store()
    async with process(Tool(), store) as home:
        await home.finished(ANY)
    async with process(Tool(), store) as other:
        with pytest.raises(InvalidArgument):
            await other.finished(replace(ANY, calls=(call,)))
