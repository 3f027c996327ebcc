"""The grammar itself: what it lets pass, and that it notices each way in which a stream can be wrong."""

import json
from typing import Any

import pytest

from tests.turn.grammar import GrammarError, check

ERROR = {"error": {"message": "m", "type": "server_error", "param": None, "code": "c"}}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return block({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **more}, id="run_1:1")


def block(data: Any, **fields: str) -> str:
    head = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


def event(kind: str, number: int, **more: Any) -> str:
    return block({"type": kind, "sequence_number": number, **more}, event=kind)


BEGIN, TEXT, END, DONE = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk(None, "stop"),
    block("[DONE]"),
)
USAGE = chunk(choices=[], usage={"total_tokens": 1})
CREATED = event("response.created", 0)
COMPLETED = event("response.completed", 1, response={"status": "completed"})


@pytest.mark.parametrize(
    "stream",
    [
        BEGIN + TEXT + END + DONE,
        BEGIN + ": keep-alive\n" + TEXT + END + USAGE + DONE,
        BEGIN + TEXT + block(ERROR),
        CREATED + COMPLETED + DONE,
        CREATED + event("error", 1, code="c", message="m", param=None),
    ],
)
def test_streams_that_end_pass(stream: str) -> None:
    check(stream)


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        (BEGIN + TEXT + DONE, "ends with a finish"),
        (BEGIN + TEXT, "ends with a finish"),
        ("", "ends with a finish"),
        (BEGIN + TEXT + END, "DONE. follows"),
        (BEGIN + END + DONE + TEXT, "once and last"),
        (BEGIN + END + TEXT + DONE, "follows the finish"),
        (BEGIN + END + END + DONE, "follows the finish"),
        (BEGIN + block(ERROR) + DONE, "DONE. follows"),
        (BEGIN + block({"error": {"message": "m"}}), "an error"),
        (BEGIN + USAGE + END + DONE, "only usage"),
        (TEXT + END + DONE, "who speaks"),
        (BEGIN + chunk({"role": "tool"}) + END + DONE, "only the assistant"),
        (BEGIN + block({"type": "tool.progress"}, id="run_1:1") + END + DONE, "an id to go on"),
        (BEGIN + "id: 5\n\n" + END + DONE, "a block has data"),
        (BEGIN + ": keep-alive\n\n" + END + DONE, "comment"),
        (BEGIN + END + DONE.strip(), "last block is closed"),
        (CREATED + DONE, "ends with a finish"),
        (CREATED + COMPLETED, "DONE. follows"),
        (CREATED + event("response.completed", 2, response={"status": "completed"}) + DONE, "without gaps"),
        (CREATED + COMPLETED + event("response.failed", 2, response={"status": "failed"}) + DONE, "follows the end"),
        (
            CREATED + block({"type": "response.completed", "sequence_number": 1}, event="other") + DONE,
            "named by its type",
        ),
    ],
)
def test_streams_that_are_wrong_do_not(stream: str, rule: str) -> None:
    with pytest.raises(GrammarError, match=rule):
        check(stream)


def test_a_stream_that_was_left_may_end_anywhere_and_one_gone_on_with_begin_anywhere() -> None:
    check(BEGIN + TEXT, whole=False)
    check(BEGIN + TEXT + END[:20], whole=False)
    check(TEXT + END + DONE, resumed=True)
    check(DONE, resumed=True)
    check(COMPLETED + DONE, resumed=True)
