"""A tool server of an older revision that tells of changes of resources: `noticeboard.py DIRECTORY`.

The file `log` there gets a line for every request. `pin` announces a change to whoever is subscribed, `die` ends it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

LOG = Path(sys.argv[1]) / "log"
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("pin", "die")]
CAPABILITIES: dict[str, Any] = {"tools": {}, "resources": {"subscribe": True}}
subscribed: set[str] = set()


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            info = {"name": "noticeboard", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": CAPABILITIES, "serverInfo": info}
        case "tools/list":
            return {"tools": TOOLS}
        case "resources/subscribe" if params["uri"] != "board://secret":
            subscribed.add(params["uri"])
            return {}
        case "resources/unsubscribe":
            subscribed.discard(params["uri"])
            return {}
        case "tools/call" if params["name"] == "pin":
            for uri in subscribed:
                send({"method": "notifications/resources/updated", "params": {"uri": f"{uri}/notice"}})
            return {"content": []}
        case "tools/call":
            os._exit(1)
    return None


def answer(message: dict[str, Any]) -> None:
    method, number, params = message["method"], message.get("id"), message.get("params") or {}
    with LOG.open("a") as log:
        log.write(f"{method} {params.get('uri', '')}".strip() + "\n")
    given = result(method, params)
    if number is not None:
        send({"id": number, "result": given} if given is not None else {"id": number, "error": ERROR})


ERROR = {"code": -32601, "message": "no such thing"}

if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
