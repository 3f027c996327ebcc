"""Which messages a model is asked about, to know their tokens."""

from collections.abc import Sequence
from typing import Any, cast

from facade.domain.tokens import TokenCount
from threadmesh.conversation import Media, Message, Part, Role, Text, ToolCall


class Counting:
    """A service that counts words, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def count(self, texts: Sequence[str], *, model: str) -> Sequence[int]:
        assert model == "one"
        self.asked += texts
        return [len(text.split()) for text in texts]


def said(*parts: Part, calls: tuple[ToolCall, ...] = ()) -> Message:
    return Message(role=Role.TOOL, parts=parts, tool_calls=calls)


LONG, SHORT = Text(text="word " * 60), Text(text="ä " * 40)
IMAGE = Media(mime_type="image/png", data=b"png")
CALL = ToolCall(id="call", name="echo", arguments_json="{}")


async def test_text_is_counted_and_the_rest_is_left_to_an_estimate() -> None:
    inference = Counting()
    messages = [said(LONG), said(LONG, IMAGE), said(LONG, calls=(CALL,)), said(), said(SHORT)]

    assert await TokenCount(cast(Any, inference), "one").of(messages) == [64, 0, 0, 0, 44]
    assert inference.asked == [LONG.text, SHORT.text]


async def test_nobody_is_asked_about_what_is_short_where_an_estimate_will_do() -> None:
    inference = Counting()

    assert await TokenCount(cast(Any, inference), "one", short=120).of([said(SHORT), said(LONG)]) == [0, 64]
    assert await TokenCount(cast(Any, inference), "one", short=119).of([said(SHORT)]) == [44]
    assert inference.asked == [LONG.text, SHORT.text]
