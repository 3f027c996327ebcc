"""One round with a model: its words go to the journal as they come; what it wants done is collected."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import assert_never

from facade.domain.events import ModelEvent, ModelFinished, ModelStarted
from facade.domain.journal import Journal
from threadmesh.conversation import (
    FinishReason,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    Role,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from threadmesh.errors import BackendUnavailable


@dataclass(slots=True)
class Answer:
    """What a model has said so far in one round."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason | None = None
    usage: Usage = Usage()

    def message(self) -> Message:
        """Give the answer as an entry of the conversation."""
        parts: list[Part] = [Reasoning(text=self.reasoning)] if self.reasoning else []
        parts += [Text(text=self.text)] if self.text else []
        return Message(role=Role.ASSISTANT, parts=tuple(parts), tool_calls=tuple(self.calls))

    def drop_broken_call(self) -> None:
        """Forget a last call that was cut off in the middle: it can neither be run nor stand in a thread."""
        if self.calls and not _is_object(self.calls[-1].arguments_json):
            self.calls.pop()


async def answer(
    events: AsyncGenerator[ModelEvent, None],
    journal: Journal,
    *,
    into: Answer,
    in_round: int,
    hidden: Callable[[str], bool],
) -> None:
    """Read one answer to its end, collecting it in `into` and writing down what a reader may see.

    Calls of tools that are `hidden`, because the mesh runs them itself, are collected and not shown as the model writes
    them. On an error or a cancellation `into` holds what was said until then.
    """
    shown: list[int] = []
    async with aclosing(events):
        async for event in events:
            _collect(event, into)
            if isinstance(event, ToolCallDelta):
                if hidden(into.calls[event.index].name):
                    continue
                event = _renumbered(event, shown)  # noqa: PLW2901  # the reader's view of the same event
            await journal.emit(event, in_round=in_round)
    if into.reason is None:
        raise BackendUnavailable("The model's answer was cut off before its end.")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _renumbered(delta: ToolCallDelta, shown: list[int]) -> ToolCallDelta:
    """Number the calls that a reader sees without gaps."""
    if delta.index not in shown:
        shown.append(delta.index)
    return replace(delta, index=shown.index(delta.index))


def _collect(event: ModelEvent, into: Answer) -> None:
    match event:
        case ModelStarted():
            pass
        case TextDelta(text=text):
            into.text += text
        case ReasoningDelta(text=text):
            into.reasoning += text
        case ToolCallDelta():
            _collect_call(event, into.calls)
        case ModelFinished(reason=reason, usage=usage):
            into.reason, into.usage = reason, usage
        case other:
            assert_never(other)


def _collect_call(delta: ToolCallDelta, calls: list[ToolCall]) -> None:
    while len(calls) <= delta.index:
        calls.append(ToolCall(id="", name="", arguments_json=""))
    so_far = calls[delta.index]
    calls[delta.index] = ToolCall(
        id=so_far.id or delta.id,
        name=so_far.name or delta.name,
        arguments_json=so_far.arguments_json + delta.arguments_json,
    )
