"""One round with a model: its words go to the journal as they come; what it wants done is collected."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import assert_never

from facade.domain.events import Delta, ModelEvent, ModelFinished, ModelStarted
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
from threadmesh.errors import BackendUnavailable, NoCompatibleReplica


@dataclass(slots=True)
class Answer:
    """What a model has said so far in one round: `tokens` are what it was made of, `started` tells who says it."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    started: ModelStarted | None = None
    reason: FinishReason | None = None
    usage: Usage = Usage()

    @property
    def has_trusted_context(self) -> bool:
        """Whether it is known that nothing the model had read comes from a tool whose results are untrusted."""
        return self.started is not None and self.started.trusted_context

    def add(self, event: ModelEvent) -> None:
        """Take in the next event."""
        match event:
            case ModelStarted():
                self.started = event
            case TextDelta(text=text):
                self.text += text
                self.tokens += event.token_ids
            case ReasoningDelta(text=text):
                self.reasoning += text
                self.tokens += event.token_ids
            case ToolCallDelta():
                self._add_call(event)
                self.tokens += event.token_ids
            case ModelFinished(reason=reason, usage=usage):
                self.reason, self.usage = reason, usage
            case other:
                assert_never(other)

    def _add_call(self, delta: ToolCallDelta) -> None:
        while len(self.calls) <= delta.index:
            self.calls.append(ToolCall(id="", name="", arguments_json=""))
        so_far = self.calls[delta.index]
        self.calls[delta.index] = ToolCall(
            id=so_far.id or delta.id,
            name=so_far.name or delta.name,
            arguments_json=so_far.arguments_json + delta.arguments_json,
        )

    def message(self) -> Message:
        """Give the answer as an entry of the conversation."""
        parts: list[Part] = [Reasoning(text=self.reasoning)] if self.reasoning else []
        parts += [Text(text=self.text)] if self.text else []
        return Message(role=Role.ASSISTANT, parts=tuple(parts), tool_calls=tuple(self.calls))

    def drop_broken_call(self) -> None:
        """Forget a last call that was cut off in the middle: it can neither be run nor stand in a thread."""
        if self.calls and not _is_object(self.calls[-1].arguments_json):
            self.calls.pop()

    def ignore_calls(self, *, of: Callable[[str], bool], beyond: int) -> None:
        """Forget the calls of such tools after so many, as if the model had never wanted them."""
        counted = [call for call in self.calls if of(call.name)]
        for call in counted[max(beyond, 0) :]:
            self.calls.remove(call)


async def answer(
    events: AsyncGenerator[ModelEvent, None],
    journal: Journal,
    *,
    into: Answer,
    in_round: int,
    item: int,
    trusted_context: bool,
    choice: int = 0,
    hidden: Callable[[str], bool],
) -> None:
    """Read one answer to its end, collecting it in `into` and writing it down; it will be this `item` of its thread.

    Whether the model has a `trusted_context`, and had it from the beginning, is noted with that. Calls of tools that
    are `hidden`, because the mesh runs them itself, are not for readers. Where `into` holds the beginning of the answer
    already, that is said again by the model and left out. On an error or a cancellation `into` holds what was said
    until then.
    """
    before = Before(into)
    trusted = trusted_context and (into.started is None or into.started.trusted_context)
    async with aclosing(events):
        async for each in events:
            noted = replace(each, item=item, trusted_context=trusted) if isinstance(each, ModelStarted) else each
            if (event := before.rest(noted)) is None:
                continue
            into.add(event)
            unseen = isinstance(event, ToolCallDelta) and hidden(into.calls[event.index].name)
            await journal.emit(event, in_round=in_round, choice=choice, hidden=unseen)
    if into.reason is None:
        raise BackendUnavailable("The model's answer was cut off before its end.")


class Before:
    """What an answer held before it was gone on with: takes it away from the answer as it is said again."""

    def __init__(self, said: Answer) -> None:
        self._started = said.started
        self._begun = bool(said.tokens)
        self._tokens = len(said.tokens)
        self._text, self._reasoning = len(said.text), len(said.reasoning)
        self._arguments = [len(call.arguments_json) for call in said.calls]

    def rest(self, event: ModelEvent) -> ModelEvent | None:
        """Give what is new of an event; None if nothing is. Raises `NoCompatibleReplica`."""
        match event:
            case ModelStarted():
                return self._rest_of_start(event)
            case TextDelta(text=text):
                self._text, cut = _less(self._text, len(text))
                return self._unless_empty(replace(event, text=text[cut:], logprobs=() if cut else event.logprobs), text)
            case ReasoningDelta(text=text):
                self._reasoning, cut = _less(self._reasoning, len(text))
                return self._unless_empty(replace(event, text=text[cut:]), text)
            case ToolCallDelta():
                return self._rest_of_call(event)
            case ModelFinished():
                return event
            case other:
                assert_never(other)

    def _rest_of_start(self, event: ModelStarted) -> ModelStarted | None:
        if self._begun and self._started is not None and event.fingerprint != self._started.fingerprint:
            raise NoCompatibleReplica(model=event.model)
        return None if self._started == event else event

    def _rest_of_call(self, event: ToolCallDelta) -> ModelEvent | None:
        if event.index >= len(self._arguments):
            return self._with_new_tokens(event)
        left, cut = _less(self._arguments[event.index], len(event.arguments_json))
        self._arguments[event.index] = left
        known = replace(event, id="", name="", arguments_json=event.arguments_json[cut:])
        return self._unless_empty(known, event.arguments_json)

    def _unless_empty(self, event: Delta, whole: str) -> Delta | None:
        """Give what is left of an event that was about a `whole` text; None if it tells nothing any more."""
        event = self._with_new_tokens(event)
        left = event.arguments_json if isinstance(event, ToolCallDelta) else event.text
        return event if left or event.token_ids or (not whole and not self._begun) else None

    def _with_new_tokens(self, event: Delta) -> Delta:
        old = min(len(event.token_ids), max(0, self._tokens - event.token_index))
        if not old:
            return event
        return replace(event, token_ids=event.token_ids[old:], token_index=event.token_index + old)


def _less(count: int, size: int) -> tuple[int, int]:
    """Take up to `size` from a count; gives what is left of it, and how much was taken."""
    taken = min(count, size)
    return count - taken, taken


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
