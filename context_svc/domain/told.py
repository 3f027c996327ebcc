"""What the operator or the application has told the model, and how much of it a window has room for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from context_svc.domain.item import Item, ItemKind
from context_svc.domain.tokens import tokens_of
from threadmesh.conversation import Message, Role

INSTRUCTIONS = frozenset({Role.SYSTEM, Role.DEVELOPER})


def is_instruction(item: Item) -> bool:
    """Say whether an item instructs the model. A summary never does, whoever is said to have written it."""
    return item.message.role in INSTRUCTIONS and item.kind is not ItemKind.SUMMARY


@dataclass(slots=True)
class _Told:
    item: Item
    latest: int
    own: bool = False
    pinned: bool = False


@dataclass(slots=True)
class Instructions:
    """A thread's instructions; those that repeat others word for word count once, in the place of the first.

    `always` must be in every window of the thread, `own` in those of the run that asks; `others` may, the latest said
    first.
    """

    always: list[Item] = field(default_factory=list)
    own: list[Item] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)

    def fitting(self, *, room: int) -> list[Item]:
        """Give the latest of the others that fit, without a hole between them."""
        chosen: list[Item] = []
        for item in self.others:
            room -= tokens_of(item)
            if room < 0:
                break
            chosen.append(item)
        return chosen


def instructions_of(items: Iterable[Item], *, pinned: Sequence[int], run_id: str) -> Instructions:
    """Sort out the instructions among items, which stand in the order of their numbers; some may come twice."""
    told: dict[Message, _Told] = {}
    for item in filter(is_instruction, items):
        found = told.setdefault(item.message, _Told(item, item.sequence))
        found.latest = item.sequence
        found.own |= bool(run_id) and item.run_id == run_id
        found.pinned |= item.sequence in pinned
    sorted_out = Instructions()
    for place, each in enumerate(told.values()):
        if each.pinned:
            sorted_out.always.append(each.item)
        elif each.own:
            sorted_out.own.append(each.item)
        elif place == 0:
            sorted_out.always.append(each.item)
    rest = [each for place, each in enumerate(told.values()) if place and not each.pinned and not each.own]
    sorted_out.others = [each.item for each in sorted(rest, key=lambda each: each.latest, reverse=True)]
    return sorted_out
