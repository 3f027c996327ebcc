"""Makes items part of every window, and takes them out again. A tool call and its results go together."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from context_svc.domain.change import NOTHING, Change, Scope, State
from context_svc.domain.delete_item import item_of
from context_svc.domain.item import Item, ItemKind, NewItem
from context_svc.domain.ports import ThreadStore
from context_svc.domain.thread import Thread
from threadmesh.conversation import Message, Role
from threadmesh.errors import Aborted, InvalidArgument, PreconditionFailed

MOST_PINNED = 64
"""How many items of a thread can be pinned."""

_PAGE = 100


async def pin(thread_id: str, sequence: int, *, store: ThreadStore) -> Thread:
    """Make an item, with what belongs to the same tool call, part of every window; gives the thread after it.

    A repetition changes nothing. Raises `ThreadNotFound`, `NotFound` for an item that is not there, and
    `PreconditionFailed` for a summary, a call whose results are not all there, and more than `MOST_PINNED` items, and
    `Aborted` when retention was at it meanwhile.
    """
    seen = await store.thread(thread_id)
    numbers = await _belonging(thread_id, sequence, store)
    return await store.change(Scope(thread_id=thread_id), partial(_pin, numbers, seen))


async def unpin(thread_id: str, sequence: int, *, store: ThreadStore) -> Thread:
    """Take an item, with what belongs to the same tool call, out of every window; gives the thread after it.

    What retention had passed over goes. A repetition changes nothing. Raises `ThreadNotFound`, and `NotFound` for an
    item that is not there.
    """
    thread = await store.thread(thread_id)
    if sequence not in thread.pinned:
        await item_of(thread_id, sequence, store=store)
        return thread
    numbers = await _belonging(thread_id, sequence, store, whole=False)
    return await store.change(Scope(thread_id=thread_id), partial(_unpin, numbers))


def with_pinned(thread: Thread, numbers: Iterable[int]) -> Thread:
    """Give the thread with more of its items pinned; raises `PreconditionFailed` for more than `MOST_PINNED`."""
    pinned = tuple(sorted({*thread.pinned, *numbers}))
    if len(pinned) > MOST_PINNED:
        raise PreconditionFailed(f"A thread can have {MOST_PINNED} pinned items; unpin some first.", most=MOST_PINNED)
    return replace(thread, pinned=pinned)


def pinned_places(items: Sequence[NewItem]) -> list[int]:
    """Give the places of the items that are to be pinned, with what belongs to the same tool calls.

    Raises `InvalidArgument` where that is not all there.
    """
    messages = [item.message for item in items]
    places: set[int] = set()
    for place, item in enumerate(items):
        if item.pinned:
            found = _exchange(messages, place)
            if found is None:
                raise InvalidArgument(
                    "A tool call can only be pinned together with all of its results.", field=f"items[{place}].pinned"
                )
            places.update(found)
    return sorted(places)


async def _belonging(thread_id: str, sequence: int, store: ThreadStore, *, whole: bool = True) -> tuple[int, ...]:
    """Number the items that are pinned or unpinned with one; it alone where the others are gone and need not be."""
    item = await item_of(thread_id, sequence, store=store)
    if item.kind is ItemKind.SUMMARY:
        raise PreconditionFailed("A summary stands for older items where there is room, and cannot be pinned.")
    if not item.message.tool_calls and item.message.role is not Role.TOOL:
        return (sequence,)
    turn = await _turn(item, store)
    messages = [each.message for each in turn]
    places = _exchange(messages, next(place for place, each in enumerate(turn) if each.sequence == sequence))
    if places is not None:
        return tuple(turn[place].sequence for place in places)
    if whole:
        raise PreconditionFailed("A tool call can only be pinned together with all of its results; not all are there.")
    return (sequence,)


async def _turn(item: Item, store: ThreadStore) -> list[Item]:
    """Give what was said around an item, from one message of a person to the next."""
    before = await _until_user(item, store, descending=True)
    behind = await _until_user(item, store, descending=False)
    return [*reversed(before), item, *behind]


async def _until_user(item: Item, store: ThreadStore, *, descending: bool) -> list[Item]:
    found: list[Item] = []
    after = item.sequence
    while True:
        page = await store.items(item.thread_id, after=after, limit=_PAGE, descending=descending)
        for each in page:
            if each.message.role is Role.USER:
                return found
            found.append(each)
        if len(page) < _PAGE:
            return found
        after = page[-1].sequence


def _exchange(messages: Sequence[Message], place: int) -> list[int] | None:
    """Give the places of a tool call and its results, of which one stands at `place`; None if not all are there."""
    message = messages[place]
    if not message.tool_calls and message.role is not Role.TOOL:
        return [place]
    call = place if message.tool_calls else _call_of(messages, place)
    if call is None:
        return None
    missing = {each.id for each in messages[call].tool_calls}
    places = [call]
    for behind, each in enumerate(messages[call + 1 :], start=call + 1):
        if each.role is Role.TOOL and each.tool_call_id in missing:
            missing.remove(each.tool_call_id)
            places.append(behind)
    return None if missing or place not in places else places


def _call_of(messages: Sequence[Message], place: int) -> int | None:
    wanted = messages[place].tool_call_id
    before = range(place - 1, -1, -1)
    return next((each for each in before if any(call.id == wanted for call in messages[each].tool_calls)), None)


def _pin(numbers: Sequence[int], seen: Thread, state: State) -> tuple[Change, Thread]:
    thread = state.existing_thread()
    new = [number for number in numbers if number not in thread.pinned]
    if not new:
        return NOTHING, thread
    if any(seen.first_item <= number < thread.first_item for number in new):
        raise Aborted("Retention was removing items of this thread meanwhile; try again.")
    longer = with_pinned(thread, new)
    return Change(thread=longer), longer


def _unpin(numbers: Sequence[int], state: State) -> tuple[Change, Thread]:
    thread = state.existing_thread()
    gone = [number for number in numbers if number in thread.pinned]
    if not gone:
        return NOTHING, thread
    kept = tuple(number for number in thread.pinned if number not in gone)
    shorter = replace(thread, pinned=kept)
    passed_over = tuple(range(number, number + 1) for number in gone if number < thread.first_item)
    return Change(thread=shorter, pruned=passed_over), shorter
