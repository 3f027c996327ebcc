"""Runs that end while their calls are under way: each call has an end, which says what nobody knows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh, running, until
from tests.turn.test_tool_recovery import ASK, call_about_the_gate, open_the_gate, waiting_at_the_gate
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as tools_pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def ended(mesh: Mesh, http: httpx2.AsyncClient, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run and give it, with its calls and what its thread holds."""
    found: dict[str, Any] = {}

    async def is_over() -> bool:
        found.update((await http.get(f"{mesh.url}/v1/runs/{run_id}")).json())
        return found["status"] in {"cancelled", "failed", "succeeded"}

    await until(is_over)
    found["calls"] = (await http.get(f"{mesh.url}/v1/runs/{run_id}/calls")).json()["data"]
    items = (await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=found["thread_id"]))).items
    found["roles"] = [conversation.Role.Name(item.message.role).removeprefix("ROLE_").lower() for item in items]
    found["words"] = items[-1].message.parts[0].text
    return found


async def test_a_call_that_is_under_way_when_its_run_is_cancelled_has_an_unknown_outcome(
    tmp_path: Path, http: httpx2.AsyncClient
) -> None:
    async with running(tmp_path) as mesh:
        run_id = await waiting_at_the_gate(http, mesh.url)
        await http.post(f"{mesh.url}/v1/runs/{run_id}/cancel")
        run = await ended(mesh, http, run_id)
        async with asyncio.timeout(10):
            await call_about_the_gate(mesh, "was_cancelled")  # its server was told to stop

    assert run["status"] == "cancelled"
    assert [call["outcome"] for call in run["calls"]] == ["unknown"]
    assert run["roles"] == ["user", "assistant", "tool"]
    assert "unknown" in run["words"]


async def test_a_call_whose_client_only_leaves_runs_to_its_end(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    async with running(tmp_path) as mesh:
        asked = {**ASK, "metadata": {**ASK["metadata"], "on_disconnect": "cancel"}}
        run = await ended(mesh, http, await waiting_at_the_gate(http, mesh.url, asked))
        await open_the_gate(mesh)
        request = tools_pb.WatchCallsRequest(run_id=run["id"])
        outcomes = [
            event.finished.outcome
            async for event in ToolsServiceStub(mesh.tools).WatchCalls(request)
            if event.HasField("finished")
        ]

    assert run["status"] == "cancelled"
    assert outcomes == [events.CALL_OUTCOME_SUCCEEDED]


async def test_a_call_that_is_under_way_when_the_time_of_its_run_is_over_has_an_unknown_outcome(
    tmp_path: Path, http: httpx2.AsyncClient
) -> None:
    async with running(tmp_path, turn_seconds=2) as mesh:
        run = await ended(mesh, http, await waiting_at_the_gate(http, mesh.url))

    assert run["status"] == "failed"
    assert [call["outcome"] for call in run["calls"]] == ["unknown"]
    assert run["roles"] == ["user", "assistant", "tool"]
