"""What several servers can do alike, over real servers: one dies, and the flow goes on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.tools_svc.given import WORKSHOP_SERVER, Mesh, call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb

WHO: dict[str, Any] = {
    "description": "Tell who is there.",
    "parameters": {"type": "object", "properties": {}},
    "tools": ["one__pid", {"tool": "two__pid", "preference": 1}],
}


@asynccontextmanager
async def capable(directory: Path, **capabilities: Any) -> AsyncIterator[Mesh]:
    servers: dict[str, Any] = {"one": WORKSHOP_SERVER, "two": WORKSHOP_SERVER}
    async with mesh(directory, capabilities=capabilities, **servers) as running:
        yield running


async def ranks(running: Mesh) -> list[tuple[str, bool]]:
    (capability,) = (await running.tools.ListTools(pb.ListToolsRequest())).capabilities
    return [(member.tool, not member.hindrance) for member in capability.members]


async def test_a_capability_is_offered_and_answered_by_the_preferred_server(tmp_path: Path) -> None:
    async with capable(tmp_path, who=WHO) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        given = await running.events(call("any__who"))
        one = (await running.run(call("one__pid", "one")))["one"]

    tools = {tool.definition.name: tool for tool in listed.tools}
    assert tools["any__who"].effect == pb.EFFECT_READ_ONLY
    assert json.loads(tools["any__who"].definition.parameters_json) == WHO["parameters"]
    assert list(tools["one__pid"].capabilities) == ["who"]
    assert [server.name for server in listed.servers] == ["one", "two"]
    assert given[0].started.server == "one"
    assert text(given[-2].finished) == text(one)


async def test_a_server_that_dies_leaves_the_capability_to_the_other(tmp_path: Path) -> None:
    async with capable(tmp_path, who=WHO) as running:
        two = (await running.run(call("two__pid", "two")))["two"]
        (tmp_path / "servers.json").write_text(
            json.dumps(
                {
                    "mcpServers": {"one": {"command": "no-such-command-anywhere"}, "two": WORKSHOP_SERVER},
                    "capabilities": {"who": WHO},
                }
            )
        )
        await running.seen(running.tools.WatchTools(pb.WatchToolsRequest()), pb.SERVER_STATE_UNAVAILABLE, "one")
        answer = (await running.run(call("any__who", "call")))["call"]
        ranked = await ranks(running)

    assert answer.outcome == events.CALL_OUTCOME_SUCCEEDED
    assert text(answer) == text(two)
    assert ranked == [("two__pid", True), ("one__pid", False)]
