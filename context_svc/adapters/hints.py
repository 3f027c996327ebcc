"""Tells waiting tasks of this process that something has changed."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from context_svc.domain.change import Change


class Hint:
    """Wakes one waiter; what happens while nobody waits wakes the next wait."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def set(self) -> None:
        """Say that something has changed."""
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Return once something has changed since the last wait, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()


class Hints:
    """Brings changes to those who follow their topics."""

    def __init__(self) -> None:
        self._followers: dict[str, set[Hint]] = {}

    @contextmanager
    def follow(self, topic: str) -> Iterator[Hint]:
        """Follow a topic until the block ends."""
        hint = Hint()
        self._followers.setdefault(topic, set()).add(hint)
        try:
            yield hint
        finally:
            followers = self._followers[topic]
            followers.discard(hint)
            if not followers:
                del self._followers[topic]

    def tell(self, change: Change) -> None:
        """Wake those whom a stored change concerns."""
        self.wake(topics(change))

    def wake(self, topics: Iterable[str]) -> None:
        """Wake those who follow one of the topics."""
        for topic in topics:
            for hint in self._followers.get(topic, ()):
                hint.set()

    def wake_all(self) -> None:
        """Wake everybody, when changes may have been missed."""
        self.wake(self._followers)


def topics(change: Change) -> Iterator[str]:
    """Name the topics of a change.

    A renewed lease concerns nobody; an event its run's watchers; a run's coming or going the whole thread.
    """
    if change.events:
        yield change.events.run_id
    if change.thread:
        yield change.thread.id
        yield from (run.id for run in change.runs)
