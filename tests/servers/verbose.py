"""A tool server whose list of tools has no end; its tool `pages` says how many pages of it were asked for."""

import json
import sys
from typing import Any

LONG = 300_000
_asked = 0


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def _page() -> dict[str, Any]:
    global _asked  # noqa: PLW0603 - the process is the server
    _asked += 1
    name = "pages" if _asked == 1 else f"tool_{_asked}"
    tool = {"name": name, "inputSchema": {"type": "object"}, "_meta": {"words": "x" * LONG}}
    return {"tools": [tool], "nextCursor": str(_asked)}


def answer(message: dict[str, Any]) -> None:
    number = message.get("id")
    match message.get("method"):
        case "initialize":
            info = {"name": "verbose", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            send({"id": number, "result": result})
        case "tools/list":
            send({"id": number, "result": _page()})
        case "tools/call":
            send({"id": number, "result": {"content": [{"type": "text", "text": str(_asked)}]}})
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
