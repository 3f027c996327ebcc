"""The logs of the runs that this process writes, for its own readers: what the store acknowledged need not come back.

A reader sees the same events in the same order as from the store, and never one that is not durable. Where this process
cannot know how the log goes on, the tail ends and the reader asks the store.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from facade.domain.events import RunEvent, RunFinished
from threadmesh.streams import Silence

_KEPT = 4_096
"""Events of a run that are kept for its readers; one that is further behind reads the store."""
_PIECE = 256
"""Events that a reader is given at once: what a slow one holds of a log whose other events are gone."""
LEASE_SECONDS = 5.0
"""How long this process is sure to be a run's writer after the store has last said so: a claim's length."""


class LocalLog:
    """The log of one run from its claim on, as far as it is durable.

    It is trusted while this process is the run's writer, which every acknowledgement proves anew for a lease's length.
    """

    def __init__(self) -> None:
        self._events: list[RunEvent] = []
        self._next: int | None = None
        self._over = False
        self._readers: set[asyncio.Event] = set()
        self._proven = 0.0
        self.claiming = False
        self.prove()

    @property
    def trusted(self) -> bool:
        """Whether nobody else can have written to the run."""
        return not self._over and (self.claiming or _now() < self._proven + LEASE_SECONDS)

    def begin(self, next_sequence: int) -> None:
        """Take the log from this number on: the run has been claimed here."""
        self._events, self._next = [], next_sequence
        self.prove()

    def prove(self) -> None:
        """Note that the store has taken this process for the run's writer just now."""
        self._proven = _now()

    def extend(self, events: Sequence[RunEvent]) -> None:
        """Add events that the store has acknowledged, numbered as there."""
        self.prove()
        if not events:
            return
        self._events += events
        self._next = events[-1].sequence + 1
        if len(self._events) > 2 * _KEPT:
            del self._events[:-_KEPT]
        self._wake()

    def end(self) -> None:
        """Say that nothing more will be known here; a reader that is far behind is left to the store."""
        self._over = True
        del self._events[:-_PIECE]
        self._wake()

    async def tail(self, *, after: int, heartbeat: float) -> AsyncGenerator[Sequence[RunEvent], None]:
        """Stream the events numbered above `after` as they come; an empty piece after `heartbeat` seconds of silence.

        Ends after the terminal event, and wherever only the store knows how the log goes on.
        """
        changed = asyncio.Event()
        silence = Silence(heartbeat, changed.set)
        self._readers.add(changed)
        try:
            while (events := self._above(after)) or (events is not None and self.trusted):
                if events:
                    after = events[-1].sequence
                    silence.pause()
                    yield events
                    if isinstance(events[-1].body, RunFinished):
                        return
                    silence.heard()
                elif await self._quiet(changed, after):
                    yield ()
        finally:
            self._readers.discard(changed)
            silence.stop()

    async def _quiet(self, changed: asyncio.Event, after: int) -> bool:
        """Wait for a change; gives whether it was none but the passing of time."""
        changed.clear()
        await changed.wait()
        return not self._over and not self._above(after)

    def _above(self, after: int) -> Sequence[RunEvent] | None:
        """Give what is kept above `after`; None where something is missing in between."""
        if self._next is None:
            return () if after < 0 else None
        first = self._next - len(self._events)
        if not first <= after + 1 <= self._next:
            return None
        return self._events[after + 1 - first : after + 1 - first + _PIECE]

    def _wake(self) -> None:
        for changed in self._readers:
            changed.set()


class LocalLogs:
    """The local logs by their runs."""

    def __init__(self) -> None:
        self._logs: dict[str, LocalLog] = {}

    def expect(self, run_id: str) -> LocalLog:
        """Give the log of a run that is about to be claimed here; logs that nobody writes any more are forgotten."""
        for each in [each for each, log in self._logs.items() if not log.trusted]:
            self.end(each)
        return self._logs.setdefault(run_id, LocalLog())

    def find(self, run_id: str) -> LocalLog | None:
        """Give the log of a run, if this process writes it."""
        return self._logs.get(run_id)

    def end(self, run_id: str) -> None:
        """Send the readers of a run to the store."""
        if log := self._logs.pop(run_id, None):
            log.end()


def _now() -> float:
    return asyncio.get_running_loop().time()
