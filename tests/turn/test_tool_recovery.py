"""Tool calls whose facade or tools service goes away in the middle."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh, facade, running, served, tools_settings, until
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.conversation.v1.conversation_pb2 import ToolCall
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from tools_svc.app import app as tools_app

ASK: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "gate g"}],
    "stream": True,
    "metadata": {"thread_key": "k", "tools": "all", "events": "1"},
}
ASKED_AFTER_UNTRUSTED = {"gate": {"approval": "after_untrusted"}}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def waiting_at_the_gate(http: httpx2.AsyncClient, url: str, asked: Mapping[str, Any] | None = None) -> str:
    """Ask for a call that waits, and leave when it does; gives its run."""
    async with (
        http.stream("POST", f"{url}/v1/chat/completions", json=asked or ASK) as response,
        aclosing(cast("AsyncGenerator[str, None]", response.aiter_lines())) as lines,
    ):
        async for line in lines:
            if "tool.progress" in line:
                break
    return response.headers["x-run-id"]


async def open_the_gate(mesh: Mesh) -> None:
    await call_about_the_gate(mesh, "open_gate")


async def call_about_the_gate(mesh: Mesh, tool: str) -> None:
    call = ToolCall(id=f"calls {tool}", name=f"workshop__{tool}", arguments_json=json.dumps({"name": "g"}))
    async for event in ToolsServiceStub(mesh.tools).ExecuteTools(pb.ExecuteToolsRequest(calls=[call])):
        if event.HasField("finished"):
            assert event.finished.outcome == events.CALL_OUTCOME_SUCCEEDED


async def started(mesh: Mesh, run_id: str) -> list[int]:
    """Give the tries of the call that the run's log tells."""
    attempts = []
    async for response in mesh.runs.WatchRun(runs.WatchRunRequest(run_id=run_id)):
        attempts += [each.call_started.attempt for each in response.events if each.HasField("call_started")]
    return attempts


async def outcome(mesh: Mesh, run_id: str) -> int:
    async def ended() -> bool:
        run = (await mesh.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run
        return bool(run.state == runs.RUN_STATE_SUCCEEDED)

    await until(ended)
    (call,) = (await mesh.runs.ListCalls(runs.ListCallsRequest(run_id=run_id))).calls
    return int(call.finished.outcome)


@pytest.mark.parametrize("effect", ["unsafe", "read_only"])
async def test_a_call_is_followed_by_the_facade_that_takes_its_run_over(
    tmp_path: Path, http: httpx2.AsyncClient, effect: str
) -> None:
    """It says again that the model had read nothing untrusted: a read-only call begins anew."""
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, tools_settings(tmp_path / "apart", ASKED_AFTER_UNTRUSTED, gate=effect))
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{port}"))
        first = await stack.enter_async_context(AsyncExitStack())
        run_id = await waiting_at_the_gate(http, await facade(first, mesh.targets))
        await first.aclose()
        await open_the_gate(mesh)
        ended = await outcome(mesh, run_id)
        attempts = await started(mesh, run_id)

    assert ended == events.CALL_OUTCOME_SUCCEEDED
    assert attempts == ([1] if effect == "unsafe" else [1, 2])


@pytest.mark.parametrize(
    ("effect", "expected"),
    [("unsafe", events.CALL_OUTCOME_UNKNOWN), ("read_only", events.CALL_OUTCOME_SUCCEEDED)],
)
async def test_a_call_goes_out_once_more_when_the_tools_service_is_back_only_if_it_may(
    tmp_path: Path, http: httpx2.AsyncClient, effect: str, expected: int
) -> None:
    settings = tools_settings(tmp_path / "apart", ASKED_AFTER_UNTRUSTED, gate=effect)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, tools_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{port}"))
        run_id = await waiting_at_the_gate(http, mesh.url)
        await first.aclose()
        await served(stack, tools_app, settings, port=port)
        await mesh.tools_are_ready()
        await open_the_gate(mesh)
        ended = await outcome(mesh, run_id)

    assert ended == expected
