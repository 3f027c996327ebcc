"""Tool calls that wait for a person, or of which nobody knows, as a person sees and decides about them."""

import asyncio
import json
from dataclasses import replace

import pytest

from context_svc.domain.action import Action, Resolution
from context_svc.domain.append_events import append_events
from context_svc.domain.call import Call, CallState
from context_svc.domain.require_action import require_action
from context_svc.domain.run import Run, RunState
from tests.cli.conftest import CommandLine, Ran
from tests.cli.context import Context, context
from tests.cli.servers import serving, small_tools, tools_service
from tests.context_svc.given import asking, result, running, texts, writing
from threadmesh.api.tools.v1 import tools_service_pb2 as tools_pb
from threadmesh.conversation import CallFinished, CallOutcome


async def ran(threadmesh: CommandLine, here: Context, *words: str) -> Ran:
    return await asyncio.to_thread(threadmesh, "calls", *words, "--target", here.target)


def call(run: Run, name: str, state: CallState = CallState.AWAITING_APPROVAL) -> Call:
    return Call(id=name, run_id=run.id, ordinal=0, name="home__lamp", arguments_json='{"on":\u200btrue}', state=state)


async def waiting(here: Context, *names: str) -> Run:
    """Let a run wait for decisions about these calls."""
    run = await running(here.store, here.clock, "k")
    write = writing(run, b"asks", calls=tuple(call(run, name) for name in names))
    actions = [Action(call_id=name, definition_hash="h") for name in names]
    return await require_action(write, actions, seconds=300, store=here.store)


async def unknown(here: Context) -> Run:
    """Give a run with a call whose outcome nobody knows."""
    run = await running(here.store, here.clock, "u")
    ended = replace(call(run, "u1", CallState.FINISHED), finished=CallFinished(outcome=CallOutcome.UNKNOWN))
    write = writing(run, b"a", calls=(ended,), items=(asking("u1"), result("u1", "nobody knows")))
    return await append_events(write, store=here.store)


async def said(here: Context, run: Run) -> dict[str, tuple[Resolution, str] | None]:
    kept = await here.store.run(run.id)
    decisions = {each.call_id: each.decision for each in kept.actions}
    return {name: (each.resolution, each.reason) if each else None for name, each in decisions.items()}


async def test_what_a_person_can_decide_about_is_listed(threadmesh: CommandLine) -> None:
    async with context() as here:
        waits, lost = await waiting(here, "c1", "c2"), await unknown(here)
        everything = await ran(threadmesh, here, "list", "--json")
        only_waiting = await ran(threadmesh, here, "list", "--waiting")
        one_run = await ran(threadmesh, here, "list", "--run", lost.id, "--json")

    listed = json.loads(everything.out)
    assert [(each["run_id"], each["call_id"], each["state"]) for each in listed] == [
        (waits.id, "c1", "waiting"),
        (waits.id, "c2", "waiting"),
        (lost.id, "u1", "unknown"),
    ]
    assert listed[0]["arguments"] == '{"on":\u200btrue}'
    assert (listed[0]["definition_hash"], listed[0]["expire_time"] is None) == ("h", False)
    assert len(only_waiting.out.splitlines()) == 3
    assert [each["call_id"] for each in json.loads(one_run.out)] == ["u1"]


async def test_nothing_to_decide_is_said(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await running(here.store, here.clock, "k")
        nothing = await ran(threadmesh, here, "list")
        no_calls = await ran(threadmesh, here, "list", "--run", run.id)
        no_run = await ran(threadmesh, here, "list", "--run", "run_none")

    assert (nothing.status, nothing.out) == (0, "No call waits for a person.\n")
    assert (no_calls.status, no_calls.out) == (0, "The run has no calls.\n")
    assert no_run.status == 1


async def test_an_approval_shows_exactly_what_would_be_sent_and_lets_the_run_go_on(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await waiting(here, "c1")
        approved = await ran(threadmesh, here, "approve", run.id, "c1", "--yes")
        again = await ran(threadmesh, here, "approve", run.id, "c1", "--yes")
        otherwise = await ran(threadmesh, here, "deny", run.id, "c1")
        after = await here.store.run(run.id)
        decided = await ran(threadmesh, here, "list", "--run", run.id, "--json")
        decisions = await said(here, run)

    assert approved.out.splitlines() == ["home__lamp", '{"on":\\u200btrue}', "definition h", "Approved c1."]
    assert (approved.status, again.status, otherwise.status) == (0, 0, 1)
    assert "first word holds" in otherwise.err
    assert (decisions, after.state) == ({"c1": (Resolution.APPROVED, "")}, RunState.RUNNING)
    assert (json.loads(decided.out)[0]["state"], json.loads(decided.out)[0]["decision"]) == ("approved", "approved")


async def test_nothing_is_approved_without_a_yes(threadmesh: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(question: str, **_: object) -> bool:
        raise SystemExit(1)

    async with context() as here:
        run = await waiting(here, "c1")
        unasked = await ran(threadmesh, here, "approve", run.id, "c1")
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.confirm", no)
        refused = await ran(threadmesh, here, "approve", run.id, "c1")
        decisions = await said(here, run)

    assert (unasked.status, refused.status) == (2, 1)
    assert decisions == {"c1": None}


async def test_one_of_two_calls_is_denied_with_a_reason(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await waiting(here, "c1", "c2")
        denied = await ran(threadmesh, here, "deny", run.id, "c2", "--reason", "not today")
        left = await ran(threadmesh, here, "list", "--waiting", "--json")
        decisions = await said(here, run)

    assert (denied.status, denied.out) == (0, "Denied c2.\n")
    assert [each["call_id"] for each in json.loads(left.out)] == ["c1"]
    assert decisions == {"c1": None, "c2": (Resolution.DENIED, "not today")}


async def test_what_is_not_there_is_not_approved(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await waiting(here, "c1")
        no_call = await ran(threadmesh, here, "approve", run.id, "c9", "--yes")
        no_run = await ran(threadmesh, here, "deny", "run_none", "c1")
        here.clock.advance(301)
        late = await ran(threadmesh, here, "approve", run.id, "c1", "--yes")

    assert (no_call.status, no_run.status, late.status) == (1, 1, 1)
    assert f"threadmesh calls list --run {run.id}" in no_call.err
    assert "too late" in late.err


async def test_an_unknown_outcome_is_settled_for_the_model_too(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await unknown(here)
        words = ("resolve", run.id, "u1", "succeeded", "--result", "The lamp is on.", "--reason", "I looked.")
        settled = await ran(threadmesh, here, *words)
        otherwise = await ran(threadmesh, here, "resolve", run.id, "u1", "failed")
        left = await ran(threadmesh, here, "list")
        kept = await ran(threadmesh, here, "list", "--run", run.id, "--json")
        told = (await texts(here.store, run.thread_id))[-1]

    assert (settled.status, settled.out) == (0, "Noted that u1 succeeded.\n")
    assert (told, otherwise.status) == ("The lamp is on.", 1)
    assert left.out == "No call waits for a person.\n"
    assert json.loads(kept.out)[0]["state"] == "unknown, then found succeeded"
    assert json.loads(kept.out)[0]["reason"] == "I looked."


async def test_a_call_without_effect_has_no_result(threadmesh: CommandLine) -> None:
    async with context() as here:
        run = await unknown(here)
        wrong = await ran(threadmesh, here, "resolve", run.id, "u1", "failed", "--result", "x")
        settled = await ran(threadmesh, here, "resolve", run.id, "u1", "failed", "--reason", "The lamp is off.")
        told = (await texts(here.store, run.thread_id))[-1]

    assert (wrong.status, settled.status) == (2, 0)
    assert told.endswith("had no effect. The lamp is off.")


@pytest.mark.parametrize(
    ("rule", "untrusted", "shown"),
    [
        (tools_pb.APPROVAL_RULE_UNSPECIFIED, False, "read only, by approval"),
        (tools_pb.APPROVAL_RULE_ALWAYS, True, "read only, by approval, untrusted"),
        (tools_pb.APPROVAL_RULE_AFTER_UNTRUSTED, False, "read only, by approval after untrusted"),
    ],
)
async def test_a_persons_own_call_is_its_approval(
    threadmesh: CommandLine, rule: tools_pb.ApprovalRule, untrusted: bool, shown: str
) -> None:
    tools = small_tools(requires_approval=True, approval=rule, untrusted=untrusted)
    async with serving(tools_service(tools)) as target:
        listed = await asyncio.to_thread(threadmesh, "tools", "list", "--target", target)
        done = await asyncio.to_thread(threadmesh, "tools", "call", "demo__echo", "text=a", "--target", target)

    assert f"{shown}  " in listed.out
    assert done.status == 0
    (approval,) = tools.approvals
    assert approval == tools_pb.Approval(call_id=approval.call_id, definition_hash="h")
    assert approval.call_id.startswith("cli-")
