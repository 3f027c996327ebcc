"""The tools of a Discord bot over a protocol that is MCP but for what its author did by hand.

`discord_bot.py <ledger>`: every effect is a line of the ledger, written before its answer. Ids are JSON integers beyond
what a float holds.
"""

import json
import sys
from pathlib import Path
from typing import Any

ID = {"type": "integer"}
TOOLS: dict[str, dict[str, Any]] = {
    "discord.join_voice": {"guild_id": ID, "channel_id": ID},
    "discord.leave_voice": {"guild_id": ID},
    "discord.send_message": {"channel_id": ID, "content": {"type": "string"}},
    "discord.play_audio": {"guild_id": ID, "url": {"type": "string"}},
}
MESSAGE_ID = 2**60 + 1
SPEAKER_ID = 2**59 + 7


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def listed() -> dict[str, Any]:
    return {
        "tools": [
            {"name": name, "inputSchema": {"type": "object", "properties": fields, "required": list(fields)}}
            for name, fields in TOOLS.items()
        ]
    }


def take_effect(name: str, arguments: dict[str, Any]) -> None:
    with Path(sys.argv[1]).open("a", encoding="utf-8") as ledger:
        ledger.write(json.dumps({"tool": name, "arguments": arguments}) + "\n")


def called(params: dict[str, Any]) -> dict[str, Any]:
    take_effect(params["name"], params["arguments"])
    said = {"status": "ok", "message_id": MESSAGE_ID, **params["arguments"]}
    return {"content": [{"type": "application/json", "data": said}]}


def overheard(arguments: dict[str, Any]) -> None:
    """Announce speech, which a bot hears once it has joined a channel: first far too much of it."""
    send({"method": "discord/transcript", "params": {"transcript": "x" * 100_000}})
    said = {"user_id": SPEAKER_ID, "transcript": "hello there", "correlation_id": "utterance-1", **arguments}
    send({"method": "discord/transcript", "params": said})


def answer(message: dict[str, Any]) -> None:
    number, params = message.get("id"), message.get("params") or {}
    match message.get("method"):
        case "initialize":
            about = {"protocolVersion": "1.0", "capabilities": {"tools": {}}}
            send({"id": number, "result": about | {"server": {"name": "discord-bot", "version": "1.0"}}})
        case "tools/list":
            send({"id": number, "result": listed()})
        case "tools/call":
            send({"id": number, "result": called(params)})
            if params["name"] == "discord.join_voice":
                overheard(params["arguments"])
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
