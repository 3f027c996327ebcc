"""What a model was told for a response, as items."""

from collections.abc import Sequence
from typing import Any

from facade.domain.events import Run
from facade.domain.records import Said
from facade.edge.responses.entries import Entries


async def input_items(run: Run, said: Sequence[Said], shown: Entries) -> list[dict[str, Any]]:
    """Give the items that the model was told, or will be, oldest first; `said` is what was said until the run's end."""
    return [
        item
        for count, each in enumerate(said, start=1)
        if each.run_id != run.id or _is_input(each, run)
        for item in await shown.items(each, said[count:])
    ]


def _is_input(own: Said, run: Run) -> bool:
    """Say whether a run was asked with an entry of its own. One of an earlier version knows only its number."""
    return own.place is not None or own.sequence < run.first_answer
