"""A tool server that offers what a JSON file says, and tells of a change after each call: `fickle.py <file>`."""

import json
import sys
from pathlib import Path
from typing import Any


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(message: dict[str, Any], tools: Path) -> None:
    number = message.get("id")
    match message.get("method"):
        case "initialize":
            capabilities = {"tools": {"listChanged": True}}
            info = {"name": "fickle", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}
            send({"id": number, "result": result})
        case "tools/list":
            send({"id": number, "result": {"tools": json.loads(tools.read_text())}})
        case "tools/call":
            send({"id": number, "result": {"content": [{"type": "text", "text": "done"}]}})
            send({"method": "notifications/tools/list_changed"})
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line), Path(sys.argv[1]))
