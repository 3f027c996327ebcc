"""The tools service and its servers: which are known, which fail, which come back."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.given import http_workshop
from tests.tools_svc.given import WORKSHOP_SERVER, call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from tools_svc.adapters.servers_file import DEFAULT

pytestmark = pytest.mark.asyncio(loop_scope="module")
ODD = "an odd name/with signs"
NOWHERE = {"command": "no-such-command-anywhere"}


async def test_the_default_servers_tell_the_time_and_read_git(tmp_path: Path) -> None:
    async with mesh(tmp_path, **json.loads(DEFAULT.read_text())["mcpServers"]) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        ended = await running.run(
            call("time__get_current_time", "time", timezone="Europe/Berlin"),
            call("git__git_status", "git", repo_path=str(tmp_path)),
        )

    effects = {tool.definition.name: tool.effect for tool in listed.tools}
    assert effects["time__get_current_time"] == pb.EFFECT_READ_ONLY
    assert effects["git__git_commit"] == pb.EFFECT_UNSAFE
    assert json.loads(ended["time"].structured_json)["timezone"] == "Europe/Berlin"
    assert ended["git"].outcome == events.CALL_OUTCOME_FAILED
    assert ended["git"].failure.reason == "TOOL_FAILED"


async def test_a_dying_server_takes_only_its_own_calls_with_it(tmp_path: Path) -> None:
    async with mesh(tmp_path, workshop=WORKSHOP_SERVER, doomed=WORKSHOP_SERVER) as running:
        ended = await running.run(
            call("doomed__die", "dies", ledger=str(tmp_path / "ledger")),
            call("workshop__meet", "one", place="here", parties=2),
            call("workshop__meet", "two", place="here", parties=2),
            call("workshop__fail", "fails", why="no"),
        )

    assert ended["dies"].outcome == events.CALL_OUTCOME_UNKNOWN
    assert ended["dies"].failure.reason == "TOOL_CONNECTION_LOST"
    assert text(ended["one"]) == text(ended["two"]) == "met"
    assert (tmp_path / "ledger").read_text() == "died\n"


async def test_a_read_only_call_whose_server_dies_is_sent_once_more(tmp_path: Path) -> None:
    async with mesh(tmp_path, workshop=WORKSHOP_SERVER) as running:
        given = await running.events(call("workshop__die_once", ledger=str(tmp_path / "ledger")))

    attempts = [event.started.attempt for event in given if event.HasField("started")]
    assert attempts == [1, 2]
    assert text(given[-2].finished) == "survived"


async def test_a_killed_server_comes_back(tmp_path: Path) -> None:
    async with mesh(tmp_path, workshop=WORKSHOP_SERVER) as running, asyncio.timeout(60):
        before = await running.run(call("workshop__pid"))
        watching = running.tools.WatchTools(pb.WatchToolsRequest())
        await running.seen(watching, pb.SERVER_STATE_READY, "workshop")
        os.kill(int(text(before["call"])), signal.SIGKILL)
        await running.seen(watching, pb.SERVER_STATE_CONNECTING, "workshop")
        await running.seen(watching, pb.SERVER_STATE_READY, "workshop")
        after = await running.run(call("workshop__pid"))

    assert text(after["call"]).isdigit()
    assert text(after["call"]) != text(before["call"])


async def test_an_http_server_that_returns_is_found_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, AsyncExitStack() as first_life:
        url, _ = await first_life.enter_async_context(http_workshop())
        running = await stack.enter_async_context(mesh(tmp_path, web={"url": url, "effects": {"pid": "read_only"}}))
        before = await running.run(call("web__pid"))
        await first_life.aclose()
        away = await running.run(call("web__pid"))
        await stack.enter_async_context(http_workshop(urlsplit(url).port or 0))
        await running.ready("web")
        after = await running.run(call("web__pid"))

    assert away["call"].failure.reason == "TOOL_SERVER_UNAVAILABLE"
    assert text(after["call"]) not in ("", text(before["call"]))


async def test_a_server_that_cannot_start_costs_only_its_own_tools(tmp_path: Path) -> None:
    async with mesh(tmp_path, wait=False, workshop=WORKSHOP_SERVER, nowhere=NOWHERE) as running:
        await running.ready("workshop")
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        ended = await running.run(call("nowhere__anything", "lost"), call("workshop__echo", "fine", value=1))

    nowhere = next(server for server in listed.servers if server.name == "nowhere")
    assert nowhere.state == pb.SERVER_STATE_UNAVAILABLE
    assert "not installed" in nowhere.failure.message
    assert ended["lost"].failure.reason == "TOOL_SERVER_UNAVAILABLE"
    assert ended["fine"].outcome == events.CALL_OUTCOME_SUCCEEDED


async def test_a_tool_that_a_server_adds_appears_in_the_watched_catalogue(tmp_path: Path) -> None:
    async with mesh(tmp_path, workshop=WORKSHOP_SERVER) as running, asyncio.timeout(60):
        watching = running.tools.WatchTools(pb.WatchToolsRequest())
        first = await anext(aiter(watching))
        await running.run(call("workshop__grow", name="grown"))
        async for response in watching:
            if any(tool.definition.name == "workshop__grown" for tool in response.catalogue.tools):
                break

    assert first.HasField("catalogue")
    assert response.sequence > first.sequence


async def test_a_server_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "hunter2")
    monkeypatch.setenv("PLACE_OF_TOKEN", "from elsewhere")
    configured = WORKSHOP_SERVER | {"env": {"API_TOKEN": "${env:PLACE_OF_TOKEN}"}}

    async with mesh(tmp_path, workshop=configured) as running:
        ended = await running.run(call("workshop__environment"))

    names = set(json.loads(ended["call"].structured_json)["result"])
    assert "API_TOKEN" in names
    assert {name for name in names if not name.startswith("LC_")} <= {
        "PATH",
        "HOME",
        "LANG",
        "TERM",
        "USER",
        "API_TOKEN",
    }


async def test_calls_and_servers_are_counted(tmp_path: Path) -> None:
    async with mesh(tmp_path, workshop=WORKSHOP_SERVER) as running:
        await running.run(call("workshop__echo", value=1), call("invented__name", "other"))
        value = running.registry.get_sample_value

        assert value("threadmesh_tools_calls_total", {"tool": "workshop__echo", "outcome": "succeeded"}) == 1
        assert value("threadmesh_tools_calls_total", {"tool": "unknown", "outcome": "failed"}) == 1
        assert value("threadmesh_tools_call_duration_seconds_count", {"tool": "workshop__echo"}) == 1
        assert value("threadmesh_tools_calls_in_flight", {"server": "workshop"}) == 0
        assert value("threadmesh_tools_server_up", {"server": "workshop"}) == 1
