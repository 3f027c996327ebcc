"""The grammar of the streams that leave the facade, which every stream of these tests must obey.

    chat       = (chunk* finished)+ usage? "[DONE]"  |  chunk* error
    responses  = event* terminal "[DONE]"         |  event* "error"

Keep-alive comments may stand between blocks and nowhere else. A stream that was picked up again may begin anywhere,
one whose reader has left may end anywhere.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TERMINAL = {f"response.{end}" for end in ("completed", "incomplete", "failed", "cancelled")}
GRAMMATICAL = ("/v1/chat/", "/v1/responses")
"""Paths of the streams that this is the grammar of."""
_ERROR = {"message", "type", "param", "code"}
Block = dict[str, str]


class GrammarError(AssertionError):
    """The stream is not as it must be."""


def check(text: str, *, whole: bool = True, resumed: bool = False) -> None:
    """Raise `GrammarError` unless a stream obeys the grammar; one that is not `whole` may end anywhere."""
    blocks = list(_blocks(text, whole=whole))
    done = [place for place, block in enumerate(blocks) if block["data"] == "[DONE]"]
    _require(done in ([], [len(blocks) - 1]), "[DONE] stands once and last")
    told = [(block, _decoded(block["data"])) for block in blocks[: -1 if done else None]]
    if any("event" in block for block, _ in told):
        end = _responses(told, resumed=resumed)
    elif any(chunk.get("object") == "text_completion" for _, chunk in told):
        end = _texts(told)
    else:
        end = _chat(told, resumed=resumed)
    if whole:
        _require(bool(end) or (resumed and not told), "the stream ends with a finish, a terminal event or an error")
        _require(bool(done) == (end != "error"), "[DONE] follows every end but an error")


def without_comments(stream: str) -> str:
    """Give a stream as clients read it: a keep-alive may stand before any block, wherever the machine was slow."""
    return re.sub(r"^:.*\n", "", stream, flags=re.MULTILINE)


def _blocks(text: str, *, whole: bool) -> Iterator[Block]:
    *pieces, rest = text.split("\n\n")
    _require(not whole or not _without_comments(rest), "the last block is closed")
    for piece in pieces:
        lines = _without_comments(piece)
        _require(bool(lines), "a comment does not end a block")
        block: Block = {}
        for line in lines:
            name, _, value = line.partition(": ")
            _require(name in ("id", "event", "data") and name not in block, f"fields stand once: {line[:60]}")
            block[name] = value
        _require("data" in block, f"a block has data: {piece[:60]}")
        yield block


def _without_comments(piece: str) -> list[str]:
    return [line for line in piece.split("\n") if line and not line.startswith(":")]


def _decoded(data: str) -> dict[str, Any]:
    found = json.loads(data)
    _require(isinstance(found, dict), "data is an object")
    return dict(found)


def _chat(told: list[tuple[Block, dict[str, Any]]], *, resumed: bool) -> str:
    choices = _Choices(resumed=resumed)
    ids = {chunk["id"] for _, chunk in told if "id" in chunk}
    _require(len(ids) <= 1, "all chunks have one id")
    failed = used = False
    for block, chunk in told:
        _require(not failed and not used, "nothing follows an error or the usage")
        if "error" in chunk:
            _require(chunk.keys() == {"error"} and chunk["error"].keys() == _ERROR, "an error has four fields")
            failed = True
            continue
        _require(chunk.get("object") == "chat.completion.chunk" and "id" in block, "a chunk has an id to go on from")
        if chunk["choices"]:
            choices.take(chunk["choices"])
        else:
            _require((choices.ended or resumed) and bool(chunk.get("usage")), "only usage has no choice, and is last")
            used = True
    return "error" if failed else "finish" if choices.ended or used else ""


def _texts(told: list[tuple[Block, dict[str, Any]]]) -> str:
    """Continuations of plain texts: nothing of them is kept, so their chunks have no place to go on from."""
    begun: set[int] = set()
    finished: set[int] = set()
    failed = used = False
    for block, chunk in told:
        _require(not failed and not used, "nothing follows an error or the usage")
        _require("id" not in block, "no stream of texts can be picked up")
        if "error" in chunk:
            failed = True
            continue
        for choice in chunk["choices"]:
            _require(choice["index"] not in finished, "nothing but usage follows the finish")
            begun.add(choice["index"])
            if choice["finish_reason"]:
                finished.add(choice["index"])
        used = not chunk["choices"]
    return "error" if failed else "finish" if begun == finished else ""


class _Choices:
    """The answers of a stream, of which each begins, goes on and ends once."""

    def __init__(self, *, resumed: bool) -> None:
        self._resumed = resumed
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    @property
    def ended(self) -> bool:
        return bool(self._begun) and self._begun == self._finished

    def take(self, choices: list[dict[str, Any]]) -> None:
        for choice in choices:
            index, role = choice["index"], choice["delta"].get("role")
            _require(index not in self._finished, "nothing but usage follows the finish")
            _require(role in (None, "assistant"), "only the assistant speaks")
            _require(index in self._begun or self._resumed or role is not None, "the first chunk says who speaks")
            self._begun.add(index)
            if choice["finish_reason"]:
                self._finished.add(index)


def _responses(told: list[tuple[Block, dict[str, Any]]], *, resumed: bool) -> str:
    end = ""
    numbers = [event["sequence_number"] for _, event in told]
    first = numbers[0] if resumed and numbers else 0
    _require(numbers == list(range(first, first + len(numbers))), "events are numbered without gaps")
    for block, event in told:
        _require(not end, "nothing follows the end")
        _require(
            block.get("event") == event["type"] and "id" not in block, "an event is named by its type, without an id"
        )
        if event["type"] == "error":
            end = "error"
        elif event["type"] in TERMINAL:
            _require(event["response"]["status"] != "in_progress", "the end says how it ended")
            end = "terminal"
    return end


def _require(holds: bool, rule: str) -> None:  # reads as an assertion
    if not holds:
        raise GrammarError(rule)


class CheckedStreams:
    """ASGI middleware that holds every stream against the grammar, and notes in `broken` those that disobey."""

    def __init__(self, app: ASGIApp, broken: list[str]) -> None:
        self._app = app
        self._broken = broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope, as ASGI asks."""
        captured = bytearray()
        streams = ended = False

        async def capture(message: Message) -> None:
            nonlocal streams, ended
            if message["type"] == "http.response.start":
                streams = dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream")
            elif streams:
                captured.extend(message.get("body", b""))
                ended = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, capture)
        finally:
            if streams and scope["path"].startswith(GRAMMATICAL):
                self._check(scope, captured.decode(), whole=ended)

    def _check(self, scope: Scope, text: str, *, whole: bool) -> None:
        query = parse_qs(scope["query_string"].decode())
        resumed = "starting_after" in query or any(name == b"last-event-id" for name, _ in scope["headers"])
        try:
            check(text, whole=whole, resumed=resumed)
        except (AssertionError, ValueError, KeyError) as error:
            self._broken.append(f"{scope['method']} {scope['path']}: {error!r} in {text[-2000:]}")
