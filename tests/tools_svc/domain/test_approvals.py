"""Calls of tools that a person must approve: what goes out, and what is said of the others."""

import pytest

from tests.tools_svc.domain.given import DEFINITION, batch, house
from tests.tools_svc.domain.test_execute import Tool
from threadmesh.conversation import CallFinished, CallOutcome
from tools_svc.domain.tool import Effect


async def test_a_call_without_approval_is_denied_and_never_sent() -> None:
    tool = Tool()
    async with house(tool, requires_approval=True) as home:
        events = [event.event for event in await home.events(batch(run_id="r"))]

    (finished,) = events
    assert isinstance(finished, CallFinished)
    assert (finished.outcome, tool.invocations) == (CallOutcome.DENIED, [])
    assert finished.failure is not None
    assert finished.failure.reason == "TOOL_NEEDS_APPROVAL"
    assert "threadmesh calls approve" in finished.failure.message
    assert home.ledger.calls == [("s__t", finished)]


async def test_a_call_that_a_person_approved_goes_out_once() -> None:
    tool = Tool()
    approved = batch(run_id="r", approvals={"c": DEFINITION})
    async with house(tool, requires_approval=True) as home:
        finished = await home.finished(approved)
        again = await home.finished(approved)

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert (again, len(tool.invocations)) == (finished, 1)


async def test_an_approval_of_another_definition_is_none() -> None:
    tool = Tool()
    async with house(tool, requires_approval=True) as home:
        finished = await home.finished(batch(run_id="r", approvals={"c": "an earlier one"}))

    assert (finished.outcome, tool.invocations) == (CallOutcome.DENIED, [])
    assert finished.failure is not None
    assert finished.failure.reason == "DEFINITION_DIFFERS"


async def test_an_approval_is_for_one_call() -> None:
    tool = Tool()
    async with house(tool, requires_approval=True) as home:
        events = await home.events(batch("a", "b", run_id="r", approvals={"a": DEFINITION}))

    ends = {event.call_id: event.event.outcome for event in events if isinstance(event.event, CallFinished)}
    assert ends == {"a": CallOutcome.SUCCEEDED, "b": CallOutcome.DENIED}
    assert [invocation.call_id for invocation in tool.invocations] == ["a"]


async def test_a_tool_that_needs_no_approval_takes_one_or_none() -> None:
    tool = Tool()
    async with house(tool) as home:
        await home.finished(batch("a", run_id="r"))
        await home.finished(batch("b", run_id="r", approvals={"b": "an earlier one"}))

    assert len(tool.invocations) == 2


@pytest.mark.parametrize("approvals", [{}, {"c": "an earlier one"}])
async def test_a_resumed_call_that_may_not_go_out_may_have_gone_out_before(approvals: dict[str, str]) -> None:
    """The policy, or the definition, may have changed since."""
    tool = Tool()
    async with house(tool, effect=Effect.READ_ONLY, requires_approval=True) as home:
        finished = await home.finished(batch(run_id="r", resumed=True, approvals=approvals))

    assert (finished.outcome, tool.invocations) == (CallOutcome.UNKNOWN, [])


async def test_a_resumed_call_goes_out_with_its_approval() -> None:
    tool = Tool()
    async with house(tool, effect=Effect.IDEMPOTENT, requires_approval=True) as home:
        finished = await home.finished(batch(run_id="r", resumed=True, approvals={"c": DEFINITION}))

    assert (finished.outcome, len(tool.invocations)) == (CallOutcome.SUCCEEDED, 1)
