"""A tool server whose tools ask their client for something, allowed or not, and tell what they were answered."""

import json
import sys
from typing import Any

QUESTIONS: dict[str, dict[str, Any]] = {
    "elicitation/create": {"message": "Your password?", "requestedSchema": {"type": "object", "properties": {}}},
    "sampling/createMessage": {"messages": [], "maxTokens": 10},
    "roots/list": {},
    "ping": {},
    "made/up": {},
}
declared: dict[str, Any] = {}
waiting: dict[str, int] = {}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def _result(number: object, value: object) -> None:
    send({"id": number, "result": {"content": [{"type": "text", "text": json.dumps(value)}]}})


def _call(number: int, arguments: dict[str, Any]) -> None:
    if "method" not in arguments:
        _result(number, declared)
        return
    question = f"question-{number}"
    waiting[question] = number
    send({"id": question, "method": arguments["method"], "params": QUESTIONS[arguments["method"]]})


def answer(message: dict[str, Any]) -> None:
    number = message.get("id")
    match message.get("method"):
        case "initialize":
            declared.update(message["params"]["capabilities"])
            info = {"name": "asking", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            send({"id": number, "result": result})
        case "tools/list":
            send({"id": number, "result": {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}})
        case "tools/call" if isinstance(number, int):
            _call(number, message["params"]["arguments"])
        case None if number in waiting:
            _result(waiting.pop(str(number)), message.get("error") or {"answer": message.get("result")})
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
