"""Calls that outlast their turn: the thread hears by itself how they ended."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.adapters.context_client import ContextClient
from facade.adapters.tools_client import ToolsClient
from facade.domain.late_results import take_late_results
from facade.domain.retries import Retries
from tests.turn.mesh import KEY, Mesh, running, served, tools_settings, until
from tests.turn.test_tool_recovery import open_the_gate, waiting_at_the_gate
from threadmesh.clock import SystemClock
from tools_svc.app import app as tools_app

QUEUED: dict[str, Any] = {"gate": {"queue": True, "timeout_seconds": 600}}


@asynccontextmanager
async def units(directory: Path) -> AsyncIterator[dict[str, Any]]:
    """Run a tools service whose gate is a long tool, and a store; gives settings of facades with short turns."""
    async with AsyncExitStack() as stack:
        tools = tools_settings(directory / "tools", QUEUED).model_copy(update={"state_dir": directory / "state"})
        context = ContextSettings(store=f"sqlite:{directory / 'threads.db'}")
        yield {
            "tools_target": f"127.0.0.1:{await served(stack, tools_app, tools)}",
            "context_target": f"127.0.0.1:{await served(stack, context_app, context)}",
            "turn_seconds": 1.0,
        }


async def call_of(http: httpx2.AsyncClient, mesh: Mesh, run_id: str) -> dict[str, Any]:
    (call,) = (await http.get(f"{mesh.url}/v1/runs/{run_id}/calls")).json()["data"]
    return dict(call)


async def outlasted(http: httpx2.AsyncClient, mesh: Mesh) -> str:
    """Ask for a call that waits until its turn is over; gives its run."""
    run_id = await waiting_at_the_gate(http, mesh.url)

    async def is_over() -> bool:
        return bool((await call_of(http, mesh, run_id))["status"] == "finished")

    await until(is_over)
    return run_id


async def settled(http: httpx2.AsyncClient, mesh: Mesh, run_id: str) -> dict[str, Any]:
    """Wait until somebody has said how the call of a run ended, and give the call."""

    async def is_settled() -> bool:
        return bool((await call_of(http, mesh, run_id))["settled"])

    await until(is_settled)
    return await call_of(http, mesh, run_id)


async def told(http: httpx2.AsyncClient, mesh: Mesh, run_id: str) -> str:
    """Give what a model reads of the call of a run."""
    run = (await http.get(f"{mesh.url}/v1/runs/{run_id}")).json()
    return (await mesh.window(run["thread_id"]))[2]


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def test_the_thread_hears_how_a_call_ended_that_outlasted_its_turn(
    http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    async with units(tmp_path) as targets, running(tmp_path, **targets) as mesh:
        run_id = await outlasted(http, mesh)
        before, unknown = await call_of(http, mesh, run_id), await told(http, mesh, run_id)
        await open_the_gate(mesh)
        after = await settled(http, mesh, run_id)
        result = await told(http, mesh, run_id)

    assert (before["outcome"], before["settled"]) == ("unknown", "")
    assert "outcome of this call is unknown" in unknown
    assert (after["settled"], result) == ("succeeded", "passed")


async def test_a_facade_that_begins_looks_what_came_meanwhile(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    async with units(tmp_path) as targets:
        async with running(tmp_path / "first", **targets) as mesh:
            run_id = await outlasted(http, mesh)
        async with running(tmp_path / "second", **targets) as mesh:
            await open_the_gate(mesh)
            after = await settled(http, mesh, run_id)
            result = await told(http, mesh, run_id)

    assert (after["settled"], result) == ("succeeded", "passed")


async def test_what_a_person_said_stays(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    async with units(tmp_path) as targets, running(tmp_path, **targets) as mesh:
        run_id = await outlasted(http, mesh)
        call = await call_of(http, mesh, run_id)
        path = f"{mesh.url}/v1/runs/{run_id}/calls/{call['id']}/resolve"
        await http.post(path, json={"outcome": "failed", "reason": "It was too late."})
        await open_the_gate(mesh)
        context = ContextClient(mesh.context, owner="test", claim_seconds=1, retries=Retries.by(SystemClock()))
        await take_late_results(run_id, tools=ToolsClient(mesh.tools), context=context, characters=100)
        after, result = await call_of(http, mesh, run_id), await told(http, mesh, run_id)

    assert after["settled"] == "failed"
    assert result.endswith("It was too late.")
