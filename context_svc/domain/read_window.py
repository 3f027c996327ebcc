"""Reads as much of a thread, from its newest item on, as a window can hold."""

from collections.abc import Iterator, Sequence

from context_svc.domain.assemble import Material, Window, assemble, is_said
from context_svc.domain.item import Item
from context_svc.domain.ports import RunStore, ThreadStore
from context_svc.domain.start import Started
from context_svc.domain.thread import Thread
from context_svc.domain.tokens import tokens_of
from context_svc.domain.told import is_instruction
from threadmesh.conversation import Message, Role
from threadmesh.errors import InvalidArgument

_PAGE, _LARGEST_PAGE = 100, 1000


async def read_window(
    thread_id: str, *, budget: int, run_id: str, threads: ThreadStore, runs: RunStore, shorten_input: bool = False
) -> Window:
    """Give the newest part of a thread that fits `budget` tokens (0 for no limit), ready for a model.

    How late an instruction was said is known of the items that were read, and of older ones by the first time. Of a
    thread with more different ones than a store tells apart, the older ones are left out, except the first. The items
    of the run `run_id` are never left out, unless `shorten_input` lets older ones go.

    Raises as `assemble` does, `ThreadNotFound`, `RunNotFound`, and `InvalidArgument` for a run of another thread.
    """
    thread = await threads.thread(thread_id)
    own_from = await _own_from(run_id, thread_id, runs) if run_id else None
    material = await _read(thread, budget=budget, own_from=own_from, threads=threads)
    return assemble(material, budget=budget, run_id=run_id, shorten_input=shorten_input)


async def first_window(started: Started, *, budget: int, threads: ThreadStore) -> Window | None:
    """Give the window of a run that has just begun, as `read_window` does; None for one that has not.

    Where the run's input is all that its thread holds, nothing is read.
    """
    run, thread, items = started.run, started.thread, started.items
    if thread is None:
        return None
    if thread.item_count == len(items):
        return assemble(Material(items=items, item_count=len(items)), budget=budget, run_id=run.id)
    material = await _read(thread, budget=budget, own_from=run.first_item, threads=threads)
    return assemble(material, budget=budget, run_id=run.id)


async def _read(thread: Thread, *, budget: int, own_from: int | None, threads: ThreadStore) -> Material:
    instructions = await threads.instructions(thread.id)
    spent = _Spent(instructions, budget)
    newest = await _newest(thread.id, spent, own_from=own_from, threads=threads)
    return Material(
        items=newest[::-1],
        instructions=instructions,
        pinned=await _pinned(thread, newest, threads),
        summary=await _summary(thread, threads),
        item_count=newest[0].sequence + 1 if newest else 0,
    )


async def _own_from(run_id: str, thread_id: str, runs: RunStore) -> int | None:
    run = await runs.run(run_id)
    if run.thread_id != thread_id:
        raise InvalidArgument("This run belongs to another thread.", field="run_id")
    return run.first_item if run.epoch else None


class _Spent:
    """What the items that were read so far take of a window's budget at least."""

    def __init__(self, instructions: Sequence[Item], budget: int) -> None:
        self.budget = budget
        self._said = 0
        self._first = {item.message: tokens_of(item) for item in instructions}
        self._told: dict[Message, int] = {}

    @property
    def tokens(self) -> int:
        """Add up turns and instructions. Of these, one that does not fit into half of the budget ends the choice."""
        sizes = self._told.values()
        return self._said + max(min(sum(sizes), self.budget // 2 - max(sizes, default=0)), 0)

    def add(self, page: Sequence[Item]) -> list[Item]:
        """Add items, the newest first; gives those that were said in turns."""
        said = [item for item in page if is_said(item)]
        self._said += sum(map(tokens_of, said))
        for item in filter(is_instruction, page) if len(said) < len(page) else ():
            self._told[item.message] = self._first.get(item.message, tokens_of(item))
        return said


async def _newest(thread_id: str, spent: _Spent, *, own_from: int | None, threads: ThreadStore) -> list[Item]:
    """Give the newest items, until nothing older can be part of the window.

    That is so once the budget is spent and the first turn of the window's run begins here. A turn that is cut off at
    the oldest item read does not fit either, for what was read is already too much.
    """
    newest: list[Item] = []
    begun, limit = own_from is None, _PAGE
    while True:
        after = newest[-1].sequence if newest else None
        page = await threads.items(thread_id, after=after, limit=limit, descending=True)
        newest += page
        said = spent.add(page)
        begun = begun or _begins_before(own_from, said)
        tokens = spent.tokens
        if len(page) < limit or (spent.budget and tokens > spent.budget and begun):
            return newest
        limit = _next_limit(len(newest), tokens, spent.budget)


def _begins_before(own_from: int | None, said: Sequence[Item]) -> bool:
    return own_from is None or any(item.message.role is Role.USER and item.sequence <= own_from for item in said)


def _next_limit(read: int, tokens: int, budget: int) -> int:
    """Ask for as many items as will probably spend the rest of the budget, so that few questions are needed."""
    missing = (budget - tokens) * read // max(tokens, 1) + _PAGE // 4 if budget else _LARGEST_PAGE
    return min(max(missing, _PAGE), _LARGEST_PAGE)


async def _pinned(thread: Thread, newest: Sequence[Item], threads: ThreadStore) -> list[Item]:
    """Give the pinned items, those that were not read yet with one question for each row of them."""
    wanted = set(thread.pinned)
    found = {item.sequence: item for item in newest if item.sequence in wanted}
    older = [number for number in thread.pinned if not newest or number < newest[-1].sequence]
    for row in _rows(older):
        after = row.start - 1 if row.start else None
        page = await threads.items(thread.id, after=after, limit=len(row), descending=False)
        found |= {item.sequence: item for item in page if item.sequence in wanted}
    return [found[number] for number in sorted(found)]


def _rows(numbers: Sequence[int]) -> Iterator[range]:
    """Put numbers that follow each other together."""
    row = range(0)
    for number in numbers:
        if row and number == row.stop:
            row = range(row.start, number + 1)
            continue
        if row:
            yield row
        row = range(number, number + 1)
    if row:
        yield row


async def _summary(thread: Thread, threads: ThreadStore) -> Item | None:
    if thread.summary is None:
        return None
    after = thread.summary - 1 if thread.summary else None
    page = await threads.items(thread.id, after=after, limit=1, descending=False)
    return next((item for item in page if item.sequence == thread.summary), None)
