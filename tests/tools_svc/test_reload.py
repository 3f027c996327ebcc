"""The servers file changes while the service runs."""

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.tools_svc.given import WORKSHOP_SERVER, Mesh, call, mesh, text
from threadmesh.api.tools.v1 import tools_service_pb2 as pb


def _write(directory: Path, **servers: object) -> None:
    draft = directory / "draft.json"
    draft.write_text(json.dumps({"mcpServers": servers}))
    draft.replace(directory / "servers.json")


async def _until_ready(running: Mesh, *servers: str) -> None:
    """Wait until exactly these servers are there, and ready."""
    async with asyncio.timeout(60):
        async for response in running.tools.WatchTools(pb.WatchToolsRequest()):
            states = {each.name: each.state for each in response.catalogue.servers}
            if response.HasField("catalogue") and states == dict.fromkeys(servers, pb.SERVER_STATE_READY):
                return


async def _pid(running: Mesh, server: str) -> str:
    return text((await running.run(call(f"{server}__pid")))["call"])


async def test_a_changed_file_adds_replaces_and_removes_servers_and_leaves_the_others(tmp_path: Path) -> None:
    async with mesh(tmp_path, kept=WORKSHOP_SERVER, gone=WORKSHOP_SERVER, other=WORKSHOP_SERVER) as running:
        kept, other = await _pid(running, "kept"), await _pid(running, "other")
        _write(tmp_path, kept=WORKSHOP_SERVER, new=WORKSHOP_SERVER, other=WORKSHOP_SERVER | {"timeout_seconds": 50})
        await _until_ready(running, "kept", "new", "other")

        assert await _pid(running, "kept") == kept
        assert await _pid(running, "other") != other
        assert (await _pid(running, "new")).isdigit()
        assert (await running.run(call("gone__pid")))["call"].failure.reason == "TOOL_NOT_FOUND"
        assert running.registry.get_sample_value("threadmesh_tools_server_up", {"server": "new"}) == 1
        assert running.registry.get_sample_value("threadmesh_tools_server_up", {"server": "gone"}) is None


async def test_a_file_with_errors_changes_nothing_and_shows_as_a_metric(tmp_path: Path) -> None:
    async with mesh(tmp_path, kept=WORKSHOP_SERVER) as running, asyncio.timeout(60):
        kept = await _pid(running, "kept")
        _write(tmp_path, kept={"command": "x", "timeout_seconds": 0}, new=WORKSHOP_SERVER)
        os.kill(os.getpid(), signal.SIGHUP)
        while running.registry.get_sample_value("threadmesh_tools_servers_file_refused") != 1:
            await asyncio.sleep(0.01)

        listed = await running.tools.ListTools(pb.ListToolsRequest())
        assert [line.split(": ")[1] for line in listed.servers_file_problems] == ["kept.timeout_seconds"]
        assert await _pid(running, "kept") == kept
        _write(tmp_path, kept=WORKSHOP_SERVER, new=WORKSHOP_SERVER)
        await _until_ready(running, "kept", "new")
        assert await _pid(running, "kept") == kept
        assert not (await running.tools.ListTools(pb.ListToolsRequest())).servers_file_problems
        assert running.registry.get_sample_value("threadmesh_tools_servers_file_refused") == 0
