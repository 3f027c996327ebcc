"""What a reader is shown of a run's log."""

from dataclasses import replace

from facade.domain.events import RunEvent
from threadmesh.conversation import ToolCallDelta


class Shown:
    """Leaves out what is hidden, and numbers the calls of each answer that are left over without gaps."""

    def __init__(self) -> None:
        self._numbers: dict[int, dict[tuple[int, int], int]] = {}

    def of(self, event: RunEvent) -> RunEvent | None:
        """Give an event as a reader sees it; None if it is hidden. Events come in order."""
        if event.hidden:
            return None
        if not isinstance(event.body, ToolCallDelta):
            return event
        numbers = self._numbers.setdefault(event.choice, {})
        number = numbers.setdefault((event.round, event.body.index), len(numbers))
        return replace(event, body=replace(event.body, index=number))
