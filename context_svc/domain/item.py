"""What a thread is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from context_svc.domain.ids import input_id, input_place, new_id
from threadmesh.conversation import Approval, Message, Role


class ItemKind(StrEnum):
    """What an item is."""

    MESSAGE = "message"
    TOOL_CALLS = "tool_calls"
    TOOL_RESULT = "tool_result"
    SUMMARY = "summary"


class Provenance(StrEnum):
    """Where an item's words come from. Words of tools are never trusted as instructions."""

    OPERATOR = "operator"
    USER = "user"
    MODEL = "model"
    TOOL = "tool"
    IMPORTED = "imported"


class ItemStatus(StrEnum):
    """Whether an item is whole; INCOMPLETE says that its writer was stopped in the middle."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"


_PROVENANCE = {
    Role.SYSTEM: Provenance.OPERATOR,
    Role.DEVELOPER: Provenance.OPERATOR,
    Role.USER: Provenance.USER,
    Role.ASSISTANT: Provenance.MODEL,
    Role.TOOL: Provenance.TOOL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Items that follow each other, by the numbers of the first and the last."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item about to be stored; `tokens` is 0 where nobody counted. A `pinned` one is part of every window.

    `covers` are the items that a summary stands for, `approval` is what was asked about the call whose result it is.
    """

    message: Message
    kind: ItemKind
    provenance: Provenance
    tokens: int = 0
    status: ItemStatus = ItemStatus.COMPLETED
    pinned: bool = False
    covers: Span | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One durable entry of a thread, numbered within it from 0.

    New items are numbered without gaps; the numbers of pruned ones are missing. `run_id` names the run that wrote it
    and is empty when none did. An item that still waits with its run is numbered within the run's input.
    `covers` are the items that a summary stands for, `approval` is what was asked about the call whose result it is.
    Which items are pinned, the thread knows.
    """

    id: str
    thread_id: str
    sequence: int
    create_time: datetime
    kind: ItemKind
    provenance: Provenance
    message: Message
    run_id: str = ""
    tokens: int = 0
    status: ItemStatus = ItemStatus.COMPLETED
    covers: Span | None = None
    approval: Approval | None = None

    @property
    def input_place(self) -> int | None:
        """Its place in the input of its run, from 0; None for what is no input, or was asked of an earlier version."""
        return input_place(self.id)


def new_item(
    message: Message,
    *,
    kind: ItemKind | None = None,
    provenance: Provenance | None = None,
    tokens: int = 0,
    status: ItemStatus = ItemStatus.COMPLETED,
    pinned: bool = False,
    covers: Span | None = None,
    approval: Approval | None = None,
) -> NewItem:
    """Describe an item; what is not said follows from the message."""
    return NewItem(
        message=message,
        kind=kind or _kind(message),
        provenance=provenance or _PROVENANCE[message.role],
        tokens=tokens,
        status=status,
        pinned=pinned,
        covers=covers,
        approval=approval,
    )


def numbered(
    items: Sequence[NewItem], *, thread_id: str, first: int, now: datetime, run_id: str = ""
) -> tuple[Item, ...]:
    """Give the items names, and numbers from `first` on."""
    names = [new_id("item") for _ in items]
    return tuple(_named(items, names, thread_id=thread_id, first=first, now=now, run_id=run_id))


def input_items(
    items: Sequence[NewItem], *, thread_id: str, first: int, now: datetime, run_id: str
) -> tuple[Item, ...]:
    """Give the items of a run's input numbers from `first` on, and names that tell their places in it.

    So each of them is known as the same one while it waits and when it has entered its thread.
    """
    names = [input_id(run_id, place) for place in range(len(items))]
    return tuple(_named(items, names, thread_id=thread_id, first=first, now=now, run_id=run_id))


def _named(
    items: Sequence[NewItem], names: Sequence[str], *, thread_id: str, first: int, now: datetime, run_id: str
) -> Iterator[Item]:
    for sequence, (item, name) in enumerate(zip(items, names, strict=True), start=first):
        yield Item(
            id=name,
            thread_id=thread_id,
            sequence=sequence,
            create_time=now,
            kind=item.kind,
            provenance=item.provenance,
            message=item.message,
            run_id=run_id,
            tokens=item.tokens,
            status=item.status,
            covers=item.covers,
            approval=item.approval,
        )


def _kind(message: Message) -> ItemKind:
    if message.tool_calls:
        return ItemKind.TOOL_CALLS
    return ItemKind.TOOL_RESULT if message.role is Role.TOOL else ItemKind.MESSAGE
