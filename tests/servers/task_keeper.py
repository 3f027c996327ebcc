"""A tool server that keeps calls as tasks of MCP 2025-11-25, in a directory that outlives it.

`task_keeper.py DIRECTORY`: the file `status` there is what every task's state is, `die` ends the server at the next
question about one, and `log` gets a line for every request. A task that is `input_required` asks once it is asked for
its result, and gives what it was answered.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

HOME = Path(sys.argv[1])
_ANY = {"type": "object"}
TOOLS = [
    {"name": "render", "inputSchema": _ANY, "execution": {"taskSupport": "required"}},
    {"name": "maybe", "inputSchema": _ANY, "execution": {"taskSupport": "optional"}},
    {"name": "plain", "inputSchema": _ANY},
]
CAPABILITIES: dict[str, Any] = {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}
_MOMENT = "2026-01-01T00:00:00Z"


def state(task: str) -> dict[str, Any]:
    stands = json.loads((HOME / "status").read_text())
    return {"taskId": task, "createdAt": _MOMENT, "lastUpdatedAt": _MOMENT, "ttl": 1, "pollInterval": 10, **stands}


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    task = params.get("taskId", "")
    if method == "initialize":
        info = {"name": "keeper", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call" and "task" in params:
        (HOME / "t1").touch()
        token = params["_meta"]["progressToken"]
        send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "total": 2}})
        return {"task": state("t1")}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": "at once"}]}
    if not method.startswith("tasks/") or not (HOME / task).exists():
        return None
    if method == "tasks/cancel":
        (HOME / "status").write_text('{"status": "cancelled"}')
    return {"content": [{"type": "text", "text": "rendered"}]} if method == "tasks/result" else state(task)


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def ask(number: object) -> None:
    form = {"type": "object", "properties": {"colour": {"type": "string"}}}
    meta = {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}
    params = {"message": "Which colour?", "requestedSchema": form, "_meta": meta}
    send({"id": f"question-{number}", "method": "elicitation/create", "params": params})


def answer(message: dict[str, Any]) -> None:
    if "method" not in message:
        asker = int(message["id"].removeprefix("question-"))
        told = json.dumps(message.get("result") or message["error"])
        send({"id": asker, "result": {"content": [{"type": "text", "text": told}]}})
        return
    method, number = message["method"], message.get("id")
    with (HOME / "log").open("a") as log:
        log.write(method + "\n")
    if method == "tasks/get" and (HOME / "die").exists():
        (HOME / "die").unlink()
        os._exit(1)
    if method == "tasks/result" and "input_required" in (HOME / "status").read_text():
        ask(number)
        return
    given = result(method, message.get("params") or {})
    if number is not None and given is not None:
        send({"id": number, "result": given})
    elif number is not None:
        send({"id": number, "error": {"code": -32602, "message": "Failed to retrieve task: Task not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
