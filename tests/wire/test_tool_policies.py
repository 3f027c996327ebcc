"""What the servers file says about calls holds on the wire, with real servers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.tools_svc.given import WORKSHOP_SERVER, Mesh, call, mesh, text
from threadmesh.api.conversation.v1.events_pb2 import (
    CALL_OUTCOME_DENIED,
    CALL_OUTCOME_FAILED,
    CALL_OUTCOME_SUCCEEDED,
)
from threadmesh.api.tools.v1 import tools_service_pb2 as pb

EFFECTS: dict[str, Any] = {"effects": {}}


async def _begun(running: Mesh, *calls: Any, **request: Any) -> "asyncio.Task[Any]":
    """Begin a batch and come back when a server works on it."""
    task = asyncio.create_task(running.run(*calls, **request))
    async with asyncio.timeout(30):
        while not running.registry.get_sample_value("threadmesh_tools_calls_in_flight", {"server": "shop"}):
            await asyncio.sleep(0)
    return task


async def test_a_call_that_has_no_turn_within_its_time_is_not_sent_and_delays_nobody(tmp_path: Path) -> None:
    shop = WORKSHOP_SERVER | EFFECTS | {"tools": {"gate": {"max_parallel": 1}}}
    async with mesh(tmp_path, shop=shop, other=WORKSHOP_SERVER) as running:
        held = await _begun(running, call("shop__gate", "held", name="g"))

        late, others = await asyncio.gather(
            running.run(call("shop__gate", "late", name="never"), timeout=Duration(seconds=1)),
            running.run(call("shop__echo", "echo", value="x"), call("other__echo", "other", value="x")),
        )
        await running.run(call("shop__open_gate", name="g"))
        first = (await held)["held"]

    assert late["late"].outcome == CALL_OUTCOME_FAILED
    assert text(late["late"]) == "The call waited for its turn for 1 s and was not sent."
    assert others["echo"].outcome == others["other"].outcome == first.outcome == CALL_OUTCOME_SUCCEEDED


async def test_a_kept_answer_is_given_without_asking_its_server(tmp_path: Path) -> None:
    shop = WORKSHOP_SERVER | EFFECTS | {"tools": {"pid": {"effect": "read_only", "cache_seconds": 600}}}
    async with mesh(tmp_path, shop=shop) as running:
        first = await running.run(call("shop__pid", "one"))
        again = await running.run(call("shop__pid", "two"))
        hits = running.registry.get_sample_value("threadmesh_tools_cache_hits_total", {"server": "shop"})
        sent = running.registry.get_sample_value(
            "threadmesh_tools_attempts_total", {"tool": "shop__pid", "outcome": "succeeded"}
        )

    assert text(first["one"]) == text(again["two"])
    assert (hits, sent) == (1, 1)


async def test_a_tool_that_needs_approval_is_called_only_as_it_was_approved(tmp_path: Path) -> None:
    shop = WORKSHOP_SERVER | {"tools": {"echo": {"approval": "always"}}}
    async with mesh(tmp_path, shop=shop) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest(names=["shop__echo", "shop__pid"]))
        (echo, pid) = listed.tools
        bare, changed, approved = [
            (await running.run(call("shop__echo", name, value=1), run_id=name, approvals=approvals))[name]
            for name, approvals in (
                ("bare", []),
                ("changed", [pb.Approval(call_id="changed", definition_hash="another")]),
                ("approved", [pb.Approval(call_id="approved", definition_hash=echo.definition_hash)]),
            )
        ]
        sent = running.registry.get_sample_value(
            "threadmesh_tools_attempts_total", {"tool": "shop__echo", "outcome": "succeeded"}
        )

    assert (echo.requires_approval, pid.requires_approval) == (True, False)
    assert (bare.outcome, bare.failure.reason) == (CALL_OUTCOME_DENIED, "TOOL_NEEDS_APPROVAL")
    assert (changed.outcome, changed.failure.reason) == (CALL_OUTCOME_DENIED, "DEFINITION_DIFFERS")
    assert (approved.outcome, sent) == (CALL_OUTCOME_SUCCEEDED, 1)


@pytest.mark.parametrize("queue", [False, True])
async def test_a_tool_that_is_approved_after_untrusted_needs_the_callers_word_or_an_approval(
    tmp_path: Path, queue: bool
) -> None:
    echo = {"approval": "after_untrusted", "queue": queue}
    shop = WORKSHOP_SERVER | {"untrusted": True, "tools": {"echo": echo, "pid": {"untrusted": False}}}
    async with mesh(tmp_path, shop=shop, other=WORKSHOP_SERVER) as running:
        listed = (await running.tools.ListTools(pb.ListToolsRequest(names=["shop__echo", "shop__pid"]))).tools
        (other,) = (await running.tools.ListTools(pb.ListToolsRequest(names=["other__echo"]))).tools
        approval = pb.Approval(call_id="approved", definition_hash=listed[0].definition_hash)
        ends = [
            (await running.run(call("shop__echo", name, value=1), run_id=name, **request))[name]
            for name, request in (
                ("bare", {}),
                ("trusted", {"trusted_context": True}),
                ("approved", {"approvals": [approval]}),
            )
        ]

    assert [(each.requires_approval, each.approval, each.untrusted) for each in (*listed, other)] == [
        (True, pb.APPROVAL_RULE_AFTER_UNTRUSTED, True),
        (False, pb.APPROVAL_RULE_NEVER, False),
        (False, pb.APPROVAL_RULE_NEVER, False),
    ]
    assert ends[0].failure.reason == "TOOL_NEEDS_APPROVAL"
    outcomes = [CALL_OUTCOME_DENIED, CALL_OUTCOME_SUCCEEDED, CALL_OUTCOME_SUCCEEDED]
    assert [each.outcome for each in ends] == outcomes


async def test_a_hint_of_a_server_makes_results_untrusted_unless_the_operator_vouches_for_them(tmp_path: Path) -> None:
    vouched: dict[str, Any] = WORKSHOP_SERVER | {"untrusted": False}
    who = {"description": "Who are you?", "parameters": {"type": "object"}, "tools": ["silent__environment"]}
    async with mesh(tmp_path, capabilities={"who": who}, silent=WORKSHOP_SERVER, vouched=vouched) as running:
        listed = (await running.tools.ListTools(pb.ListToolsRequest())).tools

    untrusted = {tool.definition.name for tool in listed if tool.untrusted}
    assert untrusted == {"silent__environment", "any__who"}


async def test_a_server_that_fails_too_often_rests_is_probed_and_comes_back(tmp_path: Path) -> None:
    breaker = {"failures": 2, "rest_seconds": 0.2, "longest_rest_seconds": 0.2}
    shop = WORKSHOP_SERVER | {"breaker": breaker, "effects": {}, "tools": {"die": {"retries": 0}}}
    ledger = str(tmp_path / "ledger")
    async with mesh(tmp_path, shop=shop) as running, asyncio.timeout(60):
        for name in ("one", "two"):
            await running.ready("shop")
            await running.run(call("shop__die", name, ledger=ledger))
        (server,) = (await running.tools.ListTools(pb.ListToolsRequest())).servers
        refused = (await running.run(call("shop__echo", "refused", value=1)))["refused"]
        answer = refused
        while answer.HasField("failure"):
            await asyncio.sleep(0.01)
            answer = (await running.run(call("shop__echo", "again", value=1)))["again"]
        (recovered,) = (await running.tools.ListTools(pb.ListToolsRequest())).servers

    assert server.breaker.state == pb.BREAKER_STATE_OPEN
    assert server.breaker.HasField("retry_time")
    assert (refused.failure.reason, "left alone" in refused.failure.message) == ("TOOL_SERVER_UNAVAILABLE", True)
    assert answer.outcome == CALL_OUTCOME_SUCCEEDED
    assert not recovered.HasField("breaker")


async def test_a_rate_refuses_with_the_time_of_the_next_turn(tmp_path: Path) -> None:
    shop = WORKSHOP_SERVER | {"rate": {"per_second": 0.01, "burst": 1}}
    async with mesh(tmp_path, shop=shop) as running:
        await running.run(call("shop__echo", "now", value="x"))
        refused = (await running.run(call("shop__echo", "later", value="x")))["later"]

    assert refused.outcome == CALL_OUTCOME_FAILED
    assert refused.failure.reason == "TOOL_RATE_LIMITED"
