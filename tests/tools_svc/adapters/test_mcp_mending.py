"""A bot whose MCP was made by hand, with its quirks known and without."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.servers.discord_bot import MESSAGE_ID, SPEAKER_ID, TOOLS
from tests.servers.given import DISCORD_BOT, invocation, output, running, stdio_source, until, updates
from threadmesh.conversation import Text
from threadmesh.errors import ToolAnswerUnreadable
from tools_svc.adapters.mcp_notifications import Announcements
from tools_svc.adapters.mcp_quirks import QUIRKS
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.domain.notification import Notification
from tools_svc.domain.tool import ServerState

CHANNEL = 2**53 + 1
MESSAGE: dict[str, Any] = {"channel_id": CHANNEL, "content": "hello"}


class _Notes:
    """A `NotificationListener` that keeps what it hears."""

    def __init__(self) -> None:
        self.heard_of: asyncio.Queue[Notification] = asyncio.Queue()

    def heard(self, notification: Notification) -> None:
        self.heard_of.put_nowait(notification)


def _bot(directory: Path, *quirks: str, announcements: Announcements | None = None) -> McpSource:
    return stdio_source(DISCORD_BOT, str(directory / "ledger"), quirks=quirks, announcements=announcements)


def _ledger(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "ledger").read_text().splitlines()]


async def test_with_its_quirks_a_bot_lists_its_tools(tmp_path: Path) -> None:
    async with running(_bot(tmp_path, *QUIRKS)) as bot:
        assert [tool.name for tool in bot.status.tools] == list(TOOLS)


async def test_json_of_a_bot_becomes_text_and_a_structured_result_with_every_digit(tmp_path: Path) -> None:
    async with running(_bot(tmp_path, *QUIRKS)) as bot:
        answer = await output(bot, invocation("discord.send_message", **MESSAGE))

    said = {"status": "ok", "message_id": MESSAGE_ID, **MESSAGE}
    assert _ledger(tmp_path) == [{"tool": "discord.send_message", "arguments": MESSAGE}]
    assert answer.parts == (Text(text=json.dumps(said)),)
    assert json.loads(answer.structured_json) == said


@pytest.mark.parametrize(
    ("quirks", "lacking"),
    [
        ((), '"server_info", "protocol_version"'),
        (("protocol_version",), '"server_info"'),
        (("server_info",), '"protocol_version"'),
    ],
)
async def test_a_bot_that_is_not_understood_is_unavailable_and_says_which_quirks_help(
    tmp_path: Path, quirks: tuple[str, ...], lacking: str
) -> None:
    async with running(_bot(tmp_path, *quirks), state=ServerState.UNAVAILABLE) as bot:
        status = await until(bot, ServerState.UNAVAILABLE)

    assert status.failure is not None
    assert f"add {lacking} to its quirks" in status.failure.message


async def test_an_answer_that_is_not_understood_costs_its_call_only_and_names_the_quirk(tmp_path: Path) -> None:
    async with running(_bot(tmp_path, "server_info", "protocol_version")) as bot:
        for _ in range(2):
            with pytest.raises(ToolAnswerUnreadable, match='add "json_content" to its quirks'):
                await updates(bot, invocation("discord.send_message", **MESSAGE))

    assert len(_ledger(tmp_path)) == 2


async def test_what_a_bot_announces_is_told_unless_it_is_too_large_and_calls_go_on(tmp_path: Path) -> None:
    notes = _Notes()
    announcements = Announcements("bot", {"discord/transcript"}, notes)
    async with running(_bot(tmp_path, *QUIRKS, announcements=announcements)) as bot, asyncio.timeout(20):
        await output(bot, invocation("discord.join_voice", guild_id=1, channel_id=CHANNEL))
        heard = await notes.heard_of.get()
        await output(bot, invocation("discord.send_message", **MESSAGE))

    said = {"user_id": SPEAKER_ID, "transcript": "hello there", "correlation_id": "utterance-1"}
    assert (heard.server, heard.method) == ("bot", "discord/transcript")
    assert json.loads(heard.params_json) == said | {"guild_id": 1, "channel_id": CHANNEL}
    assert notes.heard_of.empty()


async def test_what_is_announced_and_asked_for_by_nobody_disturbs_nothing(tmp_path: Path) -> None:
    async with running(_bot(tmp_path, *QUIRKS)) as bot:
        for _ in range(2):
            await output(bot, invocation("discord.join_voice", guild_id=1, channel_id=CHANNEL))
