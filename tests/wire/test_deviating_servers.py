"""A bot with a protocol of its own, as the tools service shows it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.recipes import recipe
from tests.servers.discord_bot import MESSAGE_ID, SPEAKER_ID
from tests.servers.given import DISCORD_BOT
from tests.servers.hook import hook
from tests.tools_svc.given import call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from tools_svc.domain.naming import public_name

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEND_MESSAGE = public_name("discord", "discord.send_message")
MESSAGE: dict[str, Any] = {"channel_id": 2**53 + 1, "content": "hello"}


def _bot(directory: Path, **changes: Any) -> dict[str, Any]:
    """Give the recipe's server, run by the bot's double."""
    server: dict[str, Any] = recipe("discord-bot")["mcpServers"]["discord"]
    return server | {"command": sys.executable, "args": [DISCORD_BOT, str(directory / "ledger")], "env": {}} | changes


def _ledger(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "ledger").read_text().splitlines()]


async def test_the_recipe_makes_a_bots_tools_usable_with_every_digit_of_their_ids(tmp_path: Path) -> None:
    async with mesh(tmp_path, discord=_bot(tmp_path)) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        ended = await running.run(call(SEND_MESSAGE, "sends", **MESSAGE))

    effects = {tool.definition.name: tool.effect for tool in listed.tools}
    assert len(effects) == 4
    assert effects[SEND_MESSAGE] == pb.EFFECT_UNSAFE
    assert effects[public_name("discord", "discord.join_voice")] == pb.EFFECT_IDEMPOTENT
    assert ended["sends"].outcome == events.CALL_OUTCOME_SUCCEEDED
    assert json.loads(text(ended["sends"])) == {"status": "ok", "message_id": MESSAGE_ID, **MESSAGE}
    assert json.loads(ended["sends"].structured_json)["message_id"] == MESSAGE_ID
    assert [line["arguments"] for line in _ledger(tmp_path)] == [MESSAGE]


async def test_a_message_whose_answer_nobody_understands_is_posted_once_and_its_outcome_unknown(
    tmp_path: Path,
) -> None:
    bot = _bot(tmp_path, quirks=["server_info", "protocol_version"])
    async with mesh(tmp_path, discord=bot) as running:
        ended = await running.run(call(SEND_MESSAGE, "sends", **MESSAGE), run_id="run")
        again = await running.run(call(SEND_MESSAGE, "sends", **MESSAGE), run_id="run")

    assert ended == again
    assert ended["sends"].outcome == events.CALL_OUTCOME_UNKNOWN
    assert ended["sends"].failure.reason == "TOOL_ANSWER_UNREADABLE"
    assert '"json_content"' in ended["sends"].failure.message
    assert len(_ledger(tmp_path)) == 1


async def test_what_a_bot_hears_is_posted_to_its_webhook(tmp_path: Path) -> None:
    async with hook() as kept, asyncio.timeout(60):
        bot = _bot(tmp_path, notifications={"discord/transcript": {"webhook": kept.url}})
        async with mesh(tmp_path, discord=bot) as running:
            await running.run(call(public_name("discord", "discord.join_voice"), "joins", guild_id=1, channel_id=2))
            _, body = await kept.posted.get()

    assert json.loads(body)["user_id"] == SPEAKER_ID
    assert json.loads(body)["transcript"] == "hello there"
