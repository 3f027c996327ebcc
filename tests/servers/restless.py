"""A tool server whose long list of tools is another one whenever anybody looks, and that says so whenever it is called.

With `--names` the tools have other names each time, otherwise other descriptions.
"""

import json
import sys
from itertools import count
from typing import Any

_TOOLS, _CHARACTERS = 1_000, 1_000
_looks = count()


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def _listed() -> list[dict[str, Any]]:
    look = next(_looks)
    name = f"_{look}" if "--names" in sys.argv else ""
    others = [
        {
            "name": f"tool{name}_{number}",
            "description": f"Look {look}: " + "says some-thing about any_thing, " * (_CHARACTERS // 32),
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string", "description": "any"}}},
        }
        for number in range(_TOOLS)
    ]
    return [{"name": "stir", "inputSchema": {"type": "object"}}, *others]


def answer(message: dict[str, Any]) -> None:
    """Answer as MCP 2025-06-18 wants it."""
    number = message.get("id")
    match message.get("method"):
        case "initialize":
            said = {
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "restless", "version": "1"},
            }
            _send({"id": number, "result": {"protocolVersion": "2025-06-18"} | said})
        case "tools/list":
            _send({"id": number, "result": {"tools": _listed()}})
        case "tools/call":
            _send({"method": "notifications/tools/list_changed"})
            _send({"id": number, "result": {"content": []}})
        case _ if number is not None:
            _send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
