"""A tool server that speaks an older MCP by hand and breaks it in every way it is asked to."""

import json
import sys
from collections.abc import Callable
from typing import Any

_ANY = {"type": "object"}
_BOMB: dict[str, Any] = {
    "$defs": {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n - 1}"}] * 2} for n in range(1, 25)} | {"s0": {}},
    "type": "object",
    "allOf": [{"$ref": "#/$defs/s24"}],
}
TOOLS: list[Any] = [
    {"name": "fine", "inputSchema": _ANY},
    {"name": "not_json", "inputSchema": _ANY},
    {"name": "noise", "inputSchema": _ANY},
    {"name": "log_lines", "inputSchema": _ANY},
    {"name": "bad_question", "inputSchema": _ANY},
    {"name": "error_of_words", "inputSchema": _ANY},
    {"name": "no_version", "inputSchema": _ANY},
    {"name": "neither_end", "inputSchema": _ANY},
    {"name": "wrong_kind_of_id", "inputSchema": _ANY},
    {"name": "wrong_id", "inputSchema": _ANY},
    {"name": "twice", "inputSchema": _ANY},
    {"name": "huge", "inputSchema": _ANY},
    {"name": "huge_late_id", "inputSchema": _ANY},
    {"name": "huge_inner_id", "inputSchema": _ANY},
    {"name": "huge_hidden_id", "inputSchema": _ANY},
    {"name": "huge_notification", "inputSchema": _ANY},
    {"name": "endless_progress", "inputSchema": _ANY},
    {"name": "huge_question", "inputSchema": _ANY},
    {"name": "endless", "inputSchema": _ANY},
    {"name": "silent", "inputSchema": _ANY},
    {"name": "protocol_error", "inputSchema": _ANY},
    {"name": "no_content", "inputSchema": _ANY},
    {"name": "bad_image", "inputSchema": _ANY},
    {"name": "half_surrogate", "inputSchema": _ANY},
    {"name": "blocks", "inputSchema": _ANY},
    {"name": "too_many_blocks", "inputSchema": _ANY},
    {"name": "flood", "inputSchema": _ANY},
    {"name": "flood_for_ever", "inputSchema": _ANY},
    {
        "name": "unlike_its_schema",
        "inputSchema": _ANY,
        "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
    {"name": "bomb", "inputSchema": _BOMB},
    {"name": "elsewhere", "inputSchema": {"type": "object", "$ref": "http://127.0.0.1:9/schema.json"}},
    {"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}},
    {"name": "fine", "description": "the second of this name", "inputSchema": _ANY},
    {"name": None, "inputSchema": _ANY},
    {"name": ["list"], "inputSchema": _ANY},
    {"name": "n" * 300, "inputSchema": _ANY},
    {"name": "annotated", "annotations": ["read only"], "inputSchema": _ANY},
    {"inputSchema": _ANY},
    "no tool",
    None,
]


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def _line(raw: str) -> None:
    sys.stdout.write(raw + "\n")
    sys.stdout.flush()


def _answered(number: int, result: dict[str, Any]) -> None:
    send({"id": number, "result": result})


def _noise(number: int) -> None:
    _line("Starting up, please wait...")
    _answered(number, text("heard"))


def _log_lines(number: int) -> None:
    _line('{"level": "info", "msg": "Listening"}')
    _line("{ level: 'info' }")
    _line(f'{{"id": {number}, "error": "not found", "method": "GET"}}')
    _line(f'{{"id": {number}, "error": "not found"}}')
    _line('{"jsonrpc": "2.0", "method": 7}')
    _answered(number, text("heard"))


def _bad_question(number: int) -> None:
    send({"id": "q", "method": "elicitation/create", "params": ["what?"]})
    given = json.loads(sys.stdin.readline())
    _answered(number, text("refused" if given.get("id") == "q" and "error" in given else str(given)))


def _wrong_id(number: int) -> None:
    _answered(number + 1_000_000, text("for nobody"))
    _answered(number, text("right"))


def _twice(number: int) -> None:
    _answered(number, text("first"))
    _answered(number, text("second"))


def _flood(number: int) -> None:
    for step in range(2_000):
        send({"method": "notifications/progress", "params": {"progressToken": number, "progress": step}})
    _answered(number, text("flooded"))


def _flood_for_ever(number: int) -> None:
    step = 0
    while True:
        step += 1
        send({"method": "notifications/progress", "params": {"progressToken": number, "progress": step}})


def _huge_notification(number: int) -> None:
    for other in (number - 1, number):
        params = {"data": {"id": other}, "words": "x" * 5_000_000, "end": {"id": other}}
        send({"method": "notifications/message", "params": params})
        send({"params": params, "method": "notifications/message"})
    _answered(number, text("went on"))


def _endless_progress(number: int) -> None:
    for progress, total in (("1e999", "3"), ("2", "NaN"), ("NaN", "NaN")):
        about = f'{{"progressToken": {number}, "progress": {progress}, "total": {total}}}'
        _line(f'{{"jsonrpc": "2.0", "method": "notifications/progress", "params": {about}}}')
    _answered(number, text("far"))


def _huge_question(number: int) -> None:
    """Ask without asking whether one may, and pass on what came of it."""
    for question in ("q", 2_000_000):
        send({"id": question, "method": "elicitation/create", "params": {"message": "x" * 5_000_000}})
        given = json.loads(sys.stdin.readline())
        if given.get("id") != question or "error" not in given:
            _answered(number, text(f"{question} had no answer: {given}"))
            return
    _answered(number, text("refused"))


def _endless(number: int) -> None:
    sys.stdout.write(f'{{"jsonrpc": "2.0", "id": {number}, "result": "')
    while True:
        sys.stdout.write("x" * 1_000_000)


CALLS: dict[str, Callable[[int], None]] = {
    "fine": lambda number: _answered(number, text("fine")),
    "not_json": lambda _: _line('{"jsonrpc": "2.0", "id": oh no'),
    "noise": _noise,
    "log_lines": _log_lines,
    "bad_question": _bad_question,
    "error_of_words": lambda number: send({"id": number, "error": "no such thing"}),
    "no_version": lambda number: _line(json.dumps({"id": number, "result": text("fine")})),
    "neither_end": lambda number: send({"id": number}),
    "wrong_kind_of_id": lambda number: send({"id": [number], "result": text("fine")}),
    "wrong_id": _wrong_id,
    "twice": _twice,
    "huge": lambda number: _answered(number, text("x" * 5_000_000)),
    "huge_late_id": lambda number: send({"result": text("x" * 5_000_000), "id": number}),
    "huge_inner_id": lambda number: send(
        {"result": {"structuredContent": {"id": number - 1}} | text("x" * 5_000_000) | {"id": 1}, "id": number}
    ),
    "huge_hidden_id": lambda number: send(
        {"result": text("x" * 5_000_000) | {"id": number}, "id": number, "more": {"id": number, "x": "x" * 1_000}}
    ),
    "huge_notification": _huge_notification,
    "endless_progress": _endless_progress,
    "huge_question": _huge_question,
    "endless": _endless,
    "silent": lambda _: None,
    "protocol_error": lambda number: send({"id": number, "error": {"code": -32602, "message": "no such thing"}}),
    "no_content": lambda number: _answered(number, {"answer": 42}),
    "bad_image": lambda number: _answered(
        number, {"content": [{"type": "image", "data": "?", "mimeType": "image/png"}]}
    ),
    "half_surrogate": lambda number: _answered(number, text("half \ud800 pair")),
    "blocks": lambda number: _answered(number, {"content": [{"type": "text", "text": "x"}] * 1_000}),
    "too_many_blocks": lambda number: _answered(number, {"content": [None] * 1_001}),
    "flood": _flood,
    "flood_for_ever": _flood_for_ever,
    "unlike_its_schema": lambda number: _answered(number, text("{}") | {"structuredContent": {"n": "one"}}),
}


def answer(message: dict[str, Any]) -> None:
    number = message.get("id")
    match message.get("method"):
        case "initialize":
            capabilities = {"tools": {"listChanged": True}}
            info = {"name": "crooked", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}
            send({"id": number, "result": result})
        case "tools/list":
            send({"id": number, "result": {"tools": TOOLS}})
        case "tools/call" if isinstance(number, int):
            CALLS[message["params"]["name"]](number)
        case _ if number is not None:
            send({"id": number, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    for line in sys.stdin:
        answer(json.loads(line))
