"""What happened to the calls of one run."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from threadmesh.conversation import CallFinished, CallProgress, Media, Text
from threadmesh.questions import InputRequired
from tools_svc.domain.call import CallEvent, RunEvent


@dataclass(slots=True)
class Total:
    """The bytes of the results in several logs together."""

    bytes: int = 0


class RunLog:
    """The numbered events of a run's calls, in memory; the `bytes` of their results are part of a `total`.

    Of each call only the newest progress is kept, and only the questions that are open.
    """

    def __init__(self, total: Total | None = None) -> None:
        self.bytes = 0
        self._total = total or Total()
        self.in_flight = 0
        self._events: dict[int, RunEvent] = {}
        self._progress: dict[str, int] = {}
        self._questions: dict[str, int] = {}
        self._sequence = 0
        self._changed = asyncio.Event()

    def append(self, call_id: str, event: CallEvent) -> None:
        """Add an event and wake the readers."""
        self._sequence += 1
        if isinstance(event, CallProgress):
            self._events.pop(self._progress.get(call_id, 0), None)
            self._progress[call_id] = self._sequence
        if isinstance(event, InputRequired):
            self._questions[call_id] = self._sequence
        if isinstance(event, CallFinished):
            self._grow(_size(event))
            self.answered(call_id)
        self._events[self._sequence] = RunEvent(sequence=self._sequence, call_id=call_id, event=event)
        self._wake()

    def answered(self, call_id: str) -> None:
        """Forget what a call's server has asked."""
        self._events.pop(self._questions.pop(call_id, 0), None)

    def forget(self, call_id: str) -> None:
        """Forget what happened to a call, which begins anew."""
        for number in [number for number, event in self._events.items() if event.call_id == call_id]:
            event = self._events.pop(number).event
            self._grow(-_size(event) if isinstance(event, CallFinished) else 0)
        self._progress.pop(call_id, None)
        self._questions.pop(call_id, None)

    def begin(self) -> None:
        """Count one more call in flight."""
        self.in_flight += 1

    def end(self) -> None:
        """Count one call less in flight."""
        self.in_flight -= 1
        self._wake()

    async def tail(self, after: int = 0, *, until_quiet: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Give the events after a number, then each new one; `until_quiet` ends when no call is in flight."""
        while True:
            changed = self._changed
            for event in [event for number, event in self._events.items() if number > after]:
                after = event.sequence
                yield event
            if until_quiet and self.in_flight == 0 and not changed.is_set():
                return
            await changed.wait()

    def _grow(self, size: int) -> None:
        self.bytes += size
        self._total.bytes += size

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _size(finished: CallFinished) -> int:
    texts = sum(len(part.text) for part in finished.parts if isinstance(part, Text))
    media = sum(len(part.data) for part in finished.parts if isinstance(part, Media))
    return texts + media + len(finished.structured_json)
