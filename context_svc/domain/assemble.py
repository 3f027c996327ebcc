"""Chooses what a model reads of a thread. Pure: items in, a window out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from context_svc.domain.item import Item, ItemKind, Provenance
from context_svc.domain.pair_calls import Entry, cost, paired
from context_svc.domain.summary import covered, summary_entries
from context_svc.domain.tokens import tokens_of
from context_svc.domain.told import Instructions, instructions_of, is_instruction
from threadmesh.conversation import Message, Role
from threadmesh.errors import ContextLengthExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a model reads, oldest first: its messages, their tokens (estimated where nobody counted), and how many of
    the thread's items it leaves out.

    `least_tokens` are those of what is never left out. `summary` numbers the one that stands for what was, and
    `summary_provenance` says how far its words can be trusted.
    """

    messages: tuple[Message, ...]
    tokens: int
    omitted_items: int
    least_tokens: int = 0
    summary: int | None = None
    summary_provenance: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a window is made of: a thread's newest `items`, oldest first, and of older ones the different
    `instructions`, the `pinned` items, and the newest `summary`.
    """

    items: Sequence[Item]
    instructions: Sequence[Item] = ()
    pinned: Sequence[Item] = ()
    summary: Item | None = None
    item_count: int


def is_said(item: Item) -> bool:
    """Say whether an item is part of a turn: instructions and summaries are not."""
    return item.kind is not ItemKind.SUMMARY and not is_instruction(item)


def assemble(material: Material, *, budget: int, run_id: str = "", shorten_input: bool = False) -> Window:
    """Give the window of at most `budget` tokens (0 for no limit).

    Always in it are the first instruction, the pinned items, and the instructions and turns of the run `run_id`; a turn
    begins with a person's message and is kept whole. Then come the other instructions, the latest said first, while all
    of them take no more than half of the budget; then the newest turns, without a hole between them. Where turns are
    left out, the summary stands for them if it takes no more than half of the turns' room, or if they leave it room.
    Each tool call is followed by exactly one result.

    With `shorten_input`, the run's own turns are as those of others, but for the one that its last message of a person
    begins, and those behind it.

    Only what the run itself said can exceed the budget, since its tokens may be estimates. Raises
    `ContextLengthExceeded` when the first instruction and the pinned items alone do.
    """
    pinned = {item.sequence: item for item in material.pinned}
    told = instructions_of(_every(material), pinned=list(pinned), run_id=run_id)
    own, others = _split(_turns(filter(is_said, material.items)), run_id=run_id, shorten_input=shorten_input)
    held = [item for item in pinned.values() if is_said(item)]
    least = _needed(told, held, budget) + sum(map(tokens_of, told.own)) + sum(_rest(turn, pinned) for turn in own)
    also = _also_told(told, budget=budget, least=least)
    room = budget - least - sum(map(tokens_of, also)) if budget else None
    chosen = _with_summary(others, own, material, room=room, pinned=pinned)
    kept = {item.sequence: item for item in (*told.always, *told.own, *also, *held)}
    kept |= {item.sequence: item for turn in (*own, *chosen.turns) for item in turn}
    return _window([kept[number] for number in sorted(kept)], chosen, material, least)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Turns, and the summary that stands for those before `start`."""

    turns: list[list[Item]]
    start: int
    summary: Item | None = None


def _every(material: Material) -> list[Item]:
    found = {item.sequence: item for item in (*material.instructions, *material.pinned, *material.items)}
    return [found[number] for number in sorted(found)]


def _turns(items: Iterable[Item]) -> list[list[Item]]:
    turns: list[list[Item]] = []
    for item in items:
        if item.message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(item)
    return turns


def _split(
    turns: Sequence[list[Item]], *, run_id: str, shorten_input: bool
) -> tuple[list[list[Item]], list[list[Item]]]:
    own: list[list[Item]] = []
    others: list[list[Item]] = []
    begin = _asked_last(turns, run_id) if shorten_input else 0
    for place, turn in enumerate(turns):
        needed = bool(run_id) and place >= begin and any(item.run_id == run_id for item in turn)
        (own if needed else others).append(turn)
    return own, others


def _asked_last(turns: Sequence[list[Item]], run_id: str) -> int:
    """Place the run's last message of a person, or the calls before it whose results come behind it."""
    begins = [turn[0].run_id == run_id and turn[0].message.role is Role.USER for turn in turns]
    asked = max((place for place, begun in enumerate(begins) if begun), default=0)
    made = {call.id for turn in turns for item in turn for call in item.message.tool_calls}
    wanted: set[str] = set()
    for place in range(len(turns) - 1, -1, -1):
        for item in reversed(turns[place]):
            wanted -= {call.id for call in item.message.tool_calls}
            wanted |= {item.message.tool_call_id} & made
        if place <= asked and not wanted:
            return place
    return 0


def _needed(told: Instructions, held: Sequence[Item], budget: int) -> int:
    """Count what every window of this thread holds."""
    tokens = sum(map(tokens_of, told.always)) + cost(held)
    if budget and tokens > budget:
        raise ContextLengthExceeded(
            f"The thread's first instruction and pinned items take {tokens} tokens of {budget}; unpin some, or use a "
            "model with a longer context.",
            tokens=tokens,
            budget=budget,
        )
    return tokens


def _also_told(told: Instructions, *, budget: int, least: int) -> list[Item]:
    if not budget:
        return told.others
    half = budget // 2 - sum(map(tokens_of, (*told.always, *told.own)))
    return told.fitting(room=min(half, budget - least))


def _rest(turn: Sequence[Item], pinned: dict[int, Item]) -> int:
    """Count what a turn adds to what is pinned of it."""
    return cost([item for item in turn if item.sequence not in pinned])


def _with_summary(
    others: list[list[Item]],
    own: list[list[Item]],
    material: Material,
    *,
    room: int | None,
    pinned: dict[int, Item],
) -> _Chosen:
    turns, left = _newest(others, room, pinned)
    plain = _Chosen(turns, _start(turns or own, material))
    summary = material.summary
    if summary is None or covered(summary).first >= plain.start:
        return plain
    tokens = sum(entry.tokens for entry in summary_entries(summary))
    if room is None or left is None or tokens <= left:
        return _Chosen(turns, plain.start, summary)
    fewer, _ = _newest(others, room - tokens, pinned)
    if tokens <= room // 2 and (fewer or own):
        return _Chosen(fewer, _start(fewer or own, material), summary)
    return plain


def _newest(turns: list[list[Item]], room: int | None, pinned: dict[int, Item]) -> tuple[list[list[Item]], int | None]:
    """Give the newest turns that fit, and the room that they leave."""
    if room is None:
        return turns, None
    chosen: list[list[Item]] = []
    for turn in reversed(turns):
        tokens = _rest(turn, pinned)
        if tokens > room:
            break
        room -= tokens
        chosen.append(turn)
    return chosen, room


def _start(turns: Sequence[list[Item]], material: Material) -> int:
    """Number the item before which the window holds no turns."""
    return min((turn[0].sequence for turn in turns), default=material.item_count)


def _window(kept: Sequence[Item], chosen: _Chosen, material: Material, least: int) -> Window:
    entries = list(_entries(kept, chosen))
    return Window(
        messages=tuple(entry.message for entry in entries),
        tokens=sum(entry.tokens for entry in entries),
        omitted_items=material.item_count - sum(entry.stored for entry in entries),
        least_tokens=least,
        summary=chosen.summary.sequence if chosen.summary else None,
        summary_provenance=chosen.summary.provenance if chosen.summary else None,
    )


def _entries(kept: Sequence[Item], chosen: _Chosen) -> Iterator[Entry]:
    """Give the messages, the summary right before the turns that it leads up to."""
    waiting = chosen.summary
    for entry in paired(kept):
        if waiting and entry.sequence >= chosen.start:
            yield from summary_entries(waiting)
            waiting = None
        yield entry
    if waiting:
        yield from summary_entries(waiting)
