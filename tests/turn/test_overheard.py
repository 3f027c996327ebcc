"""What a bot hears begins a turn of the mesh, in which the bot's own tools are called, with nobody between them."""

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.deploy.recipes import recipe
from tests.servers.given import DISCORD_BOT
from tests.turn.mesh import KEY, Mesh, running, served, until
from tests.turn.test_turn import items, texts
from threadmesh.api.conversation.v1.conversation_pb2 import ToolCall
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from tools_svc.app import app as tools_app
from tools_svc.domain.naming import public_name
from tools_svc.settings import ToolsSettings

JOIN, SEND = public_name("discord", "discord.join_voice"), public_name("discord", "discord.send_message")
GUILD, CHANNEL = 2**60 + 5, 2**60 + 6
SCRIPT = {
    "rules": [
        {
            "match": "^hello there$",
            "role": "user",
            "steps": [{"tool_call": {"name": SEND, "arguments": {"channel_id": CHANNEL, "content": "Hello!"}}}],
        },
        {"match": "(?s).*", "role": "tool", "steps": [{"text": "Greeted."}]},
    ]
}


def _bot(directory: Path, url: str) -> dict[str, Any]:
    """Give the recipe's server, run by the bot's double, with the hook at this mesh."""
    server: dict[str, Any] = recipe("discord-bot")["mcpServers"]["discord"]
    hook = server["notifications"]["discord/transcript"]
    hook |= {"webhook": f"{url}/v1/responses", "headers": {"Authorization": "Bearer ${env:HOOK_KEY}"}}
    hook["body"]["model"] = "scripted"
    return server | {"command": sys.executable, "args": [DISCORD_BOT, str(directory / "ledger")], "env": {}}


async def _join(mesh: Mesh) -> None:
    """Have the bot join a channel, where it hears somebody."""
    told = json.dumps({"guild_id": GUILD, "channel_id": CHANNEL})
    call = ToolCall(id="join", name=JOIN, arguments_json=told)
    async for _ in ToolsServiceStub(mesh.tools).ExecuteTools(tools.ExecuteToolsRequest(calls=[call])):
        pass


async def said(mesh: Mesh) -> list[str]:
    """Give what was said in the thread of the channel."""
    return [texts(item) for item in await items(mesh, f"discord:{GUILD}:{CHANNEL}")]


async def test_what_a_bot_hears_begins_a_turn_that_calls_its_tools(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    script, servers, ledger = tmp_path / "script.json", tmp_path / "servers.json", tmp_path / "ledger"
    script.write_text(json.dumps(SCRIPT))
    servers.write_text(json.dumps({"mcpServers": {}}))
    async with AsyncExitStack() as stack:
        settings = ToolsSettings(servers_file=str(servers), state_dir=tmp_path / "state")
        targets: dict[str, Any] = {
            "tools_target": f"127.0.0.1:{await served(stack, tools_app, settings)}",
            "inference_target": "127.0.0.1:"
            f"{await served(stack, inference_app, InferenceSettings(model='none', script=str(script)))}",
        }
        mesh = await stack.enter_async_context(running(tmp_path, workshop=False, **targets))
        servers.write_text(json.dumps({"mcpServers": {"discord": _bot(tmp_path, mesh.url)}}))
        await mesh.tools_are_ready()
        await _join(mesh)

        async def answered() -> bool:
            return "Greeted." in await said(mesh)

        await until(answered)
        thread = await said(mesh)

    effects = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [each["tool"] for each in effects] == ["discord.join_voice", "discord.send_message"]
    assert effects[1]["arguments"] == {"channel_id": CHANNEL, "content": "Hello!"}
    assert (thread[0], thread[-1]) == ("hello there", "Greeted.")
