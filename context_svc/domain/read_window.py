"""Reads as much of a thread, from its newest item on, as a window can hold."""

from collections.abc import Sequence

from context_svc.domain.assemble import INSTRUCTIONS, Window, assemble, tokens_of
from context_svc.domain.item import Item
from context_svc.domain.ports import RunStore, ThreadStore
from threadmesh.conversation import Role
from threadmesh.errors import InvalidArgument

_PAGE = 100


async def read_window(thread_id: str, *, budget: int, run_id: str, threads: ThreadStore, runs: RunStore) -> Window:
    """Give the newest part of a thread that fits `budget` tokens (0 for no limit), ready for a model.

    The items of the run `run_id` are never left out. Raises `ThreadNotFound`, `RunNotFound`, and `InvalidArgument`
    for a run of another thread.
    """
    await threads.thread(thread_id)
    own_from = await _own_from(run_id, thread_id, runs) if run_id else None
    instructions = await threads.instructions(thread_id)
    newest: list[Item] = []
    while not _enough(newest, budget=budget, own_from=own_from):
        after = newest[-1].sequence if newest else None
        page = await threads.items(thread_id, after=after, limit=_PAGE, descending=True)
        newest += page
        if len(page) < _PAGE:
            break
    item_count = newest[0].sequence + 1 if newest else 0
    items = newest[::-1]
    return assemble(items, instructions=instructions, item_count=item_count, budget=budget, run_id=run_id)


async def _own_from(run_id: str, thread_id: str, runs: RunStore) -> int | None:
    run = await runs.run(run_id)
    if run.thread_id != thread_id:
        raise InvalidArgument("This run belongs to another thread.", field="run_id")
    return run.first_item if run.epoch else None


def _enough(newest: Sequence[Item], *, budget: int, own_from: int | None) -> bool:
    """Say whether nothing older can be part of the window: the budget is spent, and the run's first turn begins here.

    A turn that is cut off at the oldest item read does not fit either, for what was read is already too much.
    """
    said = [item for item in newest if item.message.role not in INSTRUCTIONS]
    if not budget or sum(map(tokens_of, said)) <= budget:
        return False
    return own_from is None or any(item.message.role is Role.USER and item.sequence <= own_from for item in said)
