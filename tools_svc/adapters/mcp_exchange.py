"""One call on its way between two tasks."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import anyio

from threadmesh.conversation import CallProgress
from threadmesh.errors import MeshError
from tools_svc.domain.call import Accepted, ToolOutput, Update

_PACE_SECONDS = 0.05


class Exchange:
    """A call under way: filled by a task of the connection, read by the caller's, so that neither can break the other.

    What ends a connection cancels its tasks; the caller must see an error then, never somebody else's cancellation.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ToolOutput | MeshError] = loop.create_future()
        self._accepted: asyncio.Future[Accepted] = loop.create_future()
        self._progress: asyncio.Future[CallProgress] = loop.create_future()
        self._latest = CallProgress(progress=0)

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a snapshot of progress; it replaces one that nobody has read."""
        self._show(CallProgress(progress=progress, total=total, message=message or ""))

    def say(self, message: str) -> None:
        """Take words on how far it is; they stand beside the last numbers."""
        self._show(replace(self._latest, message=message))

    def accept(self, handle: str) -> None:
        """Take note that the server keeps the call."""
        self._accepted.set_result(Accepted(handle=handle))

    def settle(self, answer: ToolOutput | MeshError) -> None:
        """Set the answer; the first stays."""
        if not self._answer.done():
            self._answer.set_result(answer)

    def _show(self, progress: CallProgress) -> None:
        self._latest = progress
        if self._progress.done():
            self._progress = asyncio.get_running_loop().create_future()
        self._progress.set_result(progress)

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Give progress, at most twenty times a second, then the answer; raises what the connection's task met."""
        news: set[asyncio.Future[Any]] = {self._answer, self._accepted}
        while True:
            await asyncio.wait(news | {self._progress}, return_when=asyncio.FIRST_COMPLETED)
            if self._accepted in news and self._accepted.done():
                news.discard(self._accepted)
                yield self._accepted.result()
            if self._progress.done():
                progress, self._progress = self._progress.result(), asyncio.get_running_loop().create_future()
                yield progress
            if self._answer.done():
                break
            await asyncio.wait({self._answer}, timeout=_PACE_SECONDS)
        answer = self._answer.result()
        if isinstance(answer, MeshError):
            raise answer
        yield answer
