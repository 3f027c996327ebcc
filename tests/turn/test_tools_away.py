"""Requests that want tools of servers that are away: that costs the calls of these servers, and not the requests."""

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIStatusError

from tests.servers.given import WORKSHOP
from tests.turn.mesh import Mesh, running, served, until
from tests.turn.test_turn import told
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

BROKEN = {"command": sys.executable, "args": ["-c", "raise SystemExit(1)"]}


async def mesh_beside_a_broken_server(stack: AsyncExitStack, directory: Path) -> Mesh:
    servers = directory / "mixed.json"
    workshop = {"command": sys.executable, "args": [WORKSHOP, "stdio"]}
    servers.write_text(json.dumps({"mcpServers": {"workshop": workshop, "broken": BROKEN}}))
    port = await served(stack, tools_app, ToolsSettings(servers_file=str(servers), state_dir=directory))
    return await stack.enter_async_context(running(directory, tools_target=f"127.0.0.1:{port}"))


async def ask(mesh: Mesh, text: str, tools: str, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    metadata = {"tools": tools, "events": "1"}
    return await mesh.openai.chat.completions.create(model="scripted", messages=messages, metadata=metadata, **fields)


async def test_a_server_that_never_came_costs_its_own_tools_only(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = await mesh_beside_a_broken_server(stack, tmp_path)
        events, chunks = await told(await ask(mesh, "progress", "broken__x,workshop__work", stream=True))

        assert [each["event"] for each in events][-1] == "tool.finished"
        assert events[-1]["outcome"] == "succeeded"
        assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_call_that_must_be_made_says_that_its_server_is_away(tmp_path: Path) -> None:
    forced: Any = {"type": "function", "function": {"name": "broken__x"}}
    async with AsyncExitStack() as stack:
        mesh = await mesh_beside_a_broken_server(stack, tmp_path)
        with pytest.raises(APIStatusError) as refused:
            await ask(mesh, "hello", "broken__x", tool_choice=forced)
        with pytest.raises(APIStatusError) as unlisted:
            await mesh.openai.responses.create(
                model="scripted", input="hello", tools=[{"type": "mcp", "server_label": "broken"}]
            )

        for each in (refused.value, unlisted.value):
            assert each.status_code == 503
            assert each.body["code"] == "tool_server_unavailable"  # type: ignore[index]
            assert "broken" in each.message


async def test_tools_of_a_server_that_has_died_are_still_offered_and_their_calls_say_why_they_fail(
    tmp_path: Path,
) -> None:
    script = tmp_path / "once.py"
    once = tmp_path / "once"
    script.write_text(
        f"import os, sys\nif os.path.exists({str(once)!r}): sys.exit(1)\nopen({str(once)!r}, 'w').close()\n"
        f"os.execv(sys.executable, [sys.executable, {WORKSHOP!r}, 'stdio'])\n"
    )
    servers = tmp_path / "dying.json"
    dying = {"command": sys.executable, "args": [str(script)]}
    servers.write_text(json.dumps({"mcpServers": {"workshop": dying}}))
    async with AsyncExitStack() as stack:
        port = await served(stack, tools_app, ToolsSettings(servers_file=str(servers), state_dir=tmp_path))
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{port}"))
        await ask(mesh, f"die {tmp_path / 'ledger'}", "workshop__die")
        await is_away(mesh, "workshop")

        listed = await ToolsServiceStub(mesh.tools).ListTools(pb.ListToolsRequest())
        shown = await catalogue(mesh)
        events, chunks = await told(await ask(mesh, "progress", "workshop__work", stream=True))

        assert {each["status"] for each in shown["data"]} == {"away"}
        assert not listed.tools
        assert "workshop__work" in [each.definition.name for each in listed.away_tools]
        assert events[-1]["event"] == "tool.finished"
        assert "workshop cannot be reached now" in events[-1]["error"]
        assert chunks[-1].choices[0].finish_reason == "stop"


async def test_tools_and_their_servers_are_listed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = await mesh_beside_a_broken_server(stack, tmp_path)

        async def are_told() -> bool:  # a server that is away is tried again, and is `connecting` in that moment
            servers = (await catalogue(mesh))["servers"]
            return {each["id"]: each["status"] for each in servers} == {"broken": "unavailable", "workshop": "ready"}

        await until(are_told)
        shown = await catalogue(mesh)
        [work] = [each for each in shown["data"] if each["id"] == "workshop__work"]
        names = [each["id"] for each in shown["data"]]

        assert (work["server"], work["status"], work["effect"]) == ("workshop", "ready", "unsafe")
        assert "steps" in work["parameters"]["properties"]
        assert names == sorted(names)


async def catalogue(mesh: Mesh) -> dict[str, Any]:
    answer = await mesh.openai.get("/tools", cast_to=httpx2.Response)
    shown: dict[str, Any] = answer.json()
    return shown


async def is_away(mesh: Mesh, name: str) -> None:
    async for state in ToolsServiceStub(mesh.tools).WatchTools(pb.WatchToolsRequest()):
        states = {server.name: server.state for server in state.catalogue.servers}
        if states.get(name) == pb.SERVER_STATE_UNAVAILABLE:
            return
