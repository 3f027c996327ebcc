"""Calls of tools that a person must approve: what goes out, and what is said of the others."""

import pytest

from tests.tools_svc.domain.given import DEFINITION, batch, house
from tests.tools_svc.domain.test_execute import Tool
from threadmesh.conversation import CallFinished, CallOutcome
from tools_svc.domain.tool import ApprovalRule, Effect

ALWAYS, AFTER_UNTRUSTED = ApprovalRule.ALWAYS, ApprovalRule.AFTER_UNTRUSTED


async def test_a_call_without_approval_is_denied_and_never_sent() -> None:
    tool = Tool()
    async with house(tool, approval=ALWAYS) as home:
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
    async with house(tool, approval=ALWAYS) as home:
        finished = await home.finished(approved)
        again = await home.finished(approved)

    assert finished.outcome is CallOutcome.SUCCEEDED
    assert (again, len(tool.invocations)) == (finished, 1)


async def test_an_approval_of_another_definition_is_none() -> None:
    tool = Tool()
    async with house(tool, approval=ALWAYS) as home:
        finished = await home.finished(batch(run_id="r", approvals={"c": "an earlier one"}))

    assert (finished.outcome, tool.invocations) == (CallOutcome.DENIED, [])
    assert finished.failure is not None
    assert finished.failure.reason == "DEFINITION_DIFFERS"


async def test_an_approval_is_for_one_call() -> None:
    tool = Tool()
    async with house(tool, approval=ALWAYS) as home:
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
    async with house(tool, effect=Effect.READ_ONLY, approval=ALWAYS) as home:
        finished = await home.finished(batch(run_id="r", resumed=True, approvals=approvals))

    assert (finished.outcome, tool.invocations) == (CallOutcome.UNKNOWN, [])


async def test_a_resumed_call_goes_out_with_its_approval() -> None:
    tool = Tool()
    async with house(tool, effect=Effect.IDEMPOTENT, approval=ALWAYS) as home:
        finished = await home.finished(batch(run_id="r", resumed=True, approvals={"c": DEFINITION}))

    assert (finished.outcome, len(tool.invocations)) == (CallOutcome.SUCCEEDED, 1)


@pytest.mark.parametrize(("rule", "sent"), [(ApprovalRule.NEVER, 1), (AFTER_UNTRUSTED, 1), (ALWAYS, 0)])
async def test_what_the_model_had_read_counts_only_where_the_operator_says_so(rule: ApprovalRule, sent: int) -> None:
    tool = Tool()
    async with house(tool, approval=rule) as home:
        await home.finished(batch(run_id="r", trusted_context=True))

    assert len(tool.invocations) == sent


@pytest.mark.parametrize(
    ("approvals", "reason"), [({}, "TOOL_NEEDS_APPROVAL"), ({"c": "an earlier one"}, "DEFINITION_DIFFERS")]
)
async def test_who_does_not_say_what_the_model_had_read_needs_an_approval(
    approvals: dict[str, str], reason: str
) -> None:
    tool = Tool()
    async with house(tool, approval=AFTER_UNTRUSTED) as home:
        refused = await home.finished(batch(run_id="r", approvals=approvals))
        approved = await home.finished(batch("d", run_id="r", approvals={"d": DEFINITION}))

    assert refused.failure is not None
    assert (refused.outcome, refused.failure.reason) == (CallOutcome.DENIED, reason)
    assert approved.outcome is CallOutcome.SUCCEEDED
    assert [each.call_id for each in tool.invocations] == ["d"]


@pytest.mark.parametrize(
    ("trusted", "outcome", "sent"), [(True, CallOutcome.SUCCEEDED, 1), (False, CallOutcome.UNKNOWN, 0)]
)
async def test_a_resumed_call_goes_out_again_if_the_model_had_read_nothing_untrusted(
    trusted: bool, outcome: CallOutcome, sent: int
) -> None:
    tool = Tool()
    async with house(tool, effect=Effect.IDEMPOTENT, approval=AFTER_UNTRUSTED) as home:
        finished = await home.finished(batch(run_id="r", resumed=True, trusted_context=trusted))

    assert (finished.outcome, len(tool.invocations)) == (outcome, sent)
