"""Chooses what a model reads of a thread. Pure: items in, a window out."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from context_svc.domain.item import Item
from threadmesh.conversation import Media, Message, Role, Text, ToolCall

INSTRUCTIONS = frozenset({Role.SYSTEM, Role.DEVELOPER})
INTERRUPTED = (
    "The call was interrupted before its result was recorded. Its outcome is unknown: it may or may not have had an "
    "effect."
)
_MESSAGE_TOKENS = 4
_BYTES_PER_TOKEN = 3
_MEDIA_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a model reads, oldest first: its messages, their tokens (estimated where nobody counted), and how many of
    the thread's items it leaves out.
    """

    messages: tuple[Message, ...]
    tokens: int
    omitted_items: int


def assemble(
    items: Sequence[Item], *, instructions: Sequence[Item], item_count: int, budget: int, run_id: str = ""
) -> Window:
    """Give the window of at most `budget` tokens (0 for no limit) out of a thread's newest `items`, oldest first.

    `instructions` are all of the thread's, also older ones; each is kept, one that repeats another word for word only
    once. Turns, which begin with a person's message, are kept whole: those that hold items of the run `run_id` always,
    then the newest that fit, without a hole between them. Each tool call is followed by exactly one result: a missing
    one is made up to say that the outcome is unknown, one without its call is left out.
    """
    kept = list(_distinct(instructions).values())
    said = [item for item in items if item.message.role not in INSTRUCTIONS]
    room = budget - sum(map(tokens_of, kept)) if budget else None
    for turn in _chosen(_turns(said), room=room, run_id=run_id):
        kept += turn
    kept.sort(key=lambda item: item.sequence)
    entries = list(_paired(kept))
    return Window(
        messages=tuple(entry.message for entry in entries),
        tokens=sum(entry.tokens for entry in entries),
        omitted_items=item_count - sum(entry.stored for entry in entries),
    )


def tokens_of(item: Item) -> int:
    """Give the item's tokens as counted, else as estimated."""
    return item.tokens or estimated_tokens(item.message)


def estimated_tokens(message: Message) -> int:
    """Guess a message's tokens on the safe side: a third of its bytes, a thousand for a medium, a few around it."""
    media = sum(isinstance(part, Media) for part in message.parts)
    texts = [part.text for part in message.parts if not isinstance(part, Media)]
    texts += [call.name + call.arguments_json for call in message.tool_calls]
    size = sum(len(text.encode()) for text in texts)
    return -(-size // _BYTES_PER_TOKEN) + _MESSAGE_TOKENS + media * _MEDIA_TOKENS


def _distinct(instructions: Iterable[Item]) -> dict[Message, Item]:
    """Clients that send their instructions with every request would otherwise fill the window with them."""
    first: dict[Message, Item] = {}
    for item in instructions:
        first.setdefault(item.message, item)
    return first


def _turns(items: Iterable[Item]) -> list[list[Item]]:
    turns: list[list[Item]] = []
    for item in items:
        if item.message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(item)
    return turns


def _chosen(turns: Iterable[list[Item]], *, room: int | None, run_id: str) -> Iterator[list[Item]]:
    own: list[list[Item]] = []
    others: list[list[Item]] = []
    for turn in turns:
        needed = bool(run_id) and any(item.run_id == run_id for item in turn)
        (own if needed else others).append(turn)
    yield from own
    if room is None:
        yield from others
        return
    room -= sum(map(_turn_tokens, own))
    for turn in reversed(others):
        room -= _turn_tokens(turn)
        if room < 0:
            return
        yield turn


def _turn_tokens(turn: list[Item]) -> int:
    """Give what a turn costs at most: its items and the results that may have to be made up."""
    tokens = sum(map(tokens_of, turn))
    if any(item.message.tool_calls for item in turn):
        tokens += sum(entry.tokens for entry in _paired(turn) if not entry.stored)
    return tokens


@dataclass(frozen=True, slots=True)
class _Entry:
    message: Message
    tokens: int
    stored: bool


def _paired(items: Sequence[Item]) -> Iterator[_Entry]:
    """Give the messages, each call's result right behind it in the order of the calls."""
    results = _Results(items)
    for place, item in enumerate(items):
        if item.message.role is Role.TOOL:
            continue
        yield _Entry(item.message, tokens_of(item), stored=True)
        for call in item.message.tool_calls:
            yield results.take(call, after=place)


class _Results:
    """The tool results of a window, each given once. Call ids may come again in a later turn."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._waiting: dict[str, deque[tuple[int, Item]]] = {}
        self._calls: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if item.message.role is Role.TOOL:
                self._waiting.setdefault(item.message.tool_call_id, deque()).append((place, item))
            for call in item.message.tool_calls:
                self._calls.setdefault(call.id, []).append(place)

    def take(self, call: ToolCall, *, after: int) -> _Entry:
        """Give the first result behind place `after` that no later call of the same id claims."""
        until = next((place for place in self._calls[call.id] if place > after), None)
        waiting = self._waiting.get(call.id, deque())
        while waiting and waiting[0][0] < after:
            waiting.popleft()
        if waiting and (until is None or waiting[0][0] < until):
            item = waiting.popleft()[1]
            return _Entry(item.message, tokens_of(item), stored=True)
        made_up = _interrupted(call)
        return _Entry(made_up, estimated_tokens(made_up), stored=False)


def _interrupted(call: ToolCall) -> Message:
    return Message(role=Role.TOOL, parts=(Text(text=INTERRUPTED),), tool_call_id=call.id, name=call.name)
