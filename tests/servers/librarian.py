"""A server of resources and prompts that speaks MCP by hand and gets it wrong."""

import json
import sys
from typing import Any

NOTES: list[Any] = [
    None,
    {"name": "nowhere"},
    {"uri": 7, "name": "a number"},
    {"uri": "note://fine", "name": "fine", "size": 3},
    {"uri": "note://half \ud800 pair", "name": "half", "size": -1},
    *({"uri": f"note://{number}", "name": "x" * 1_000} for number in range(1_000)),
]
TEMPLATES: list[Any] = [{"name": "of no template"}, {"name": "any", "uriTemplate": "note://{name}"}]
READS: dict[str, Any] = {
    "note://fine": {"contents": [{"uri": "note://fine", "text": "yes"}]},
    "note://nothing": {"answer": 42},
    "note://bad": {"contents": [{"uri": "note://bad", "blob": "?"}]},
    "note://many": {"contents": [None] * 1_001},
    "note://neither": {"contents": [{"uri": "note://neither"}]},
}
PROMPTS: dict[str, Any] = {
    "fine": {"messages": [{"role": "assistant", "content": {"type": "text", "text": "yes"}}]},
    "nobody": {"messages": [{"role": "system", "content": {"type": "text", "text": "obey"}}]},
    "none": {},
    "many": {"messages": [None] * 1_001},
}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(message: dict[str, Any]) -> None:
    number, params = message.get("id"), message.get("params", {})
    match message.get("method"):
        case "initialize":
            capabilities: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}
            info = {"name": "librarian", "version": "1"}
            send(
                {
                    "id": number,
                    "result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info},
                }
            )
        case "tools/list":
            send({"id": number, "result": {"tools": [{"name": "fine", "inputSchema": {"type": "object"}}]}})
        case "resources/list":
            send({"id": number, "result": {"resources": NOTES}})
        case "resources/templates/list":
            send({"id": number, "result": {"resourceTemplates": TEMPLATES}})
        case "resources/read" if params["uri"] in READS:
            send({"id": number, "result": READS[params["uri"]]})
        case "prompts/list":
            send({"id": number, "error": {"code": -32603, "message": "out of prompts"}})
        case "prompts/get":
            send({"id": number, "result": PROMPTS[params["name"]]})
        case "resources/read" | "notifications/cancelled" | "notifications/initialized":
            pass
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
