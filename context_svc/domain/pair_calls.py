"""Puts each tool call's one result behind it, so that every template and model can read the conversation."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from context_svc.domain.item import Item
from context_svc.domain.tokens import estimated_tokens, tokens_of
from threadmesh.conversation import Message, Role, Text, ToolCall

INTERRUPTED = (
    "The call was interrupted before its result was recorded. Its outcome is unknown: it may or may not have had an "
    "effect."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of a window with its tokens; `stored` when it is an item's. It belongs in the place `sequence`."""

    message: Message
    tokens: int
    sequence: int
    stored: bool


def paired(items: Sequence[Item]) -> Iterator[Entry]:
    """Give the items' messages, each call's result right behind it in the order of the calls.

    A missing result is made up to say that the outcome is unknown, one without its call is left out.
    """
    results = _Results(items)
    for place, item in enumerate(items):
        if item.message.role is Role.TOOL:
            continue
        yield Entry(item.message, tokens_of(item), item.sequence, stored=True)
        for call in item.message.tool_calls:
            yield results.take(call, after=place)


def cost(items: Sequence[Item]) -> int:
    """Give what items cost a window at most: their tokens and those of results that may have to be made up."""
    tokens = sum(map(tokens_of, items))
    if any(item.message.tool_calls for item in items):
        tokens += sum(entry.tokens for entry in paired(items) if not entry.stored)
    return tokens


class _Results:
    """The tool results of a window, each given once. Call ids may come again in a later turn."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._waiting: dict[str, deque[tuple[int, Item]]] = {}
        self._calls: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if item.message.role is Role.TOOL:
                self._waiting.setdefault(item.message.tool_call_id, deque()).append((place, item))
            for call in item.message.tool_calls:
                self._calls.setdefault(call.id, []).append(place)

    def take(self, call: ToolCall, *, after: int) -> Entry:
        """Give the first result behind place `after` that no later call of the same id claims."""
        sequence = self._items[after].sequence
        until = next((place for place in self._calls[call.id] if place > after), None)
        waiting = self._waiting.get(call.id, deque())
        while waiting and waiting[0][0] < after:
            waiting.popleft()
        if waiting and (until is None or waiting[0][0] < until):
            item = waiting.popleft()[1]
            return Entry(item.message, tokens_of(item), sequence, stored=True)
        made_up = _interrupted(call)
        return Entry(made_up, estimated_tokens(made_up), sequence, stored=False)


def _interrupted(call: ToolCall) -> Message:
    return Message(role=Role.TOOL, parts=(Text(text=INTERRUPTED),), tool_call_id=call.id, name=call.name)
