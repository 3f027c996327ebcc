"""Tells the owner of a connection that it has ended."""

import asyncio

from threadmesh.errors import MeshError


class Lifeline:
    """Whoever notices that a connection is dead cuts it; its owner waits for that."""

    def __init__(self) -> None:
        self._cut = asyncio.Event()
        self.reason: MeshError | None = None
        """Why it has ended; None while it lives."""

    def cut(self, reason: MeshError) -> None:
        """Say that the connection has ended and why; the first reason stays."""
        self.reason = self.reason or reason
        self._cut.set()

    async def ended(self) -> MeshError:
        """Wait for the end and give the reason."""
        await self._cut.wait()
        assert self.reason is not None
        return self.reason
