"""What a model was told for a response, as items."""

from collections.abc import Sequence
from typing import Any

from facade.domain.events import Run
from facade.domain.records import Said
from facade.edge.responses.entries import Entries
from facade.edge.responses.stored import Echo


async def input_items(run: Run, echo: Echo, said: Sequence[Said], shown: Entries) -> list[dict[str, Any]]:
    """Give the items that the model was told, oldest first; `said` is what stands in the run's thread."""
    return [item for each in _told(run, echo, said) for item in await shown.items(each)]


def _told(run: Run, echo: Echo, said: Sequence[Said]) -> Sequence[Said]:
    """Leave out what the run itself has said: of its entries, those behind its input."""
    own = next((place for place, each in enumerate(said) if each.run_id == run.id), len(said))
    return said[: own + echo.inputs]
