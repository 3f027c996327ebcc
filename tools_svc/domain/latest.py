"""A value that changes, and those who wait for it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Latest(Generic[Value]):
    """Holds the newest value and numbers it from 1; readers wait for newer ones and never hold up the writer."""

    def __init__(self, value: Value) -> None:
        self._value = value
        self._sequence = 1
        self._changed = asyncio.Event()

    @property
    def value(self) -> Value:
        """The newest value."""
        return self._value

    @property
    def sequence(self) -> int:
        """The newest value's number."""
        return self._sequence

    def set(self, value: Value) -> None:
        """Replace the value and wake everybody who waits."""
        self._value = value
        self._sequence += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def states(self, after: int = 0) -> AsyncGenerator[tuple[int, Value], None]:
        """Give the newest value with its number, then each newer one; values replaced meanwhile are skipped.

        `after` skips the values up to that number; a number from the future is one of an earlier life and skips none.
        """
        seen = after if after <= self._sequence else 0
        while True:
            while self._sequence <= seen:
                await self._changed.wait()
            seen = self._sequence
            yield seen, self._value
