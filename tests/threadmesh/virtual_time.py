"""An event loop whose time passes at once: whatever waits for seconds is tested in milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def in_virtual_time(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end; where all would wait for a time, it has come."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class LoopClock:
    """A `Clock` that shows the running loop's time."""

    def now(self) -> datetime:
        return _BEGINNING + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: it goes on to the next moment at which something is due."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Hurrying(self))

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds


class _Hurrying(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is due any more, and somebody still waits"
        self._loop.pass_time(timeout)
        return super().select(0)
