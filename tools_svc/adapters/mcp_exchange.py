"""One call on its way between two tasks."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from threadmesh.conversation import CallProgress
from threadmesh.errors import MeshError
from threadmesh.questions import Answer, Question
from tools_svc.domain.call import Accepted, Asked, ToolOutput, Update

_PACE_SECONDS = 0.05


class Exchange:
    """A call under way: filled by a task of the connection, read by the caller's, so that neither can break the other.

    What ends a connection cancels its tasks; the caller must see an error then, never somebody else's cancellation.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._news = asyncio.Event()
        self._answer: ToolOutput | Asked | MeshError | None = None
        self._answered = asyncio.Event()
        self._accepted: Accepted | None = None
        self._progress: CallProgress | None = None
        self._latest = CallProgress(progress=0)
        self._questions: list[Asked] = []
        self._replies: list[asyncio.Future[tuple[Answer, ...]]] = []

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a snapshot of progress; it replaces one that nobody has read. What is no number is left out."""
        if not math.isfinite(progress):
            return
        if total is not None and not math.isfinite(total):
            total = None
        self._show(CallProgress(progress=progress, total=total, message=message or ""))

    def say(self, message: str) -> None:
        """Take words on how far it is; they stand beside the last numbers."""
        self._show(replace(self._latest, message=message))

    def accept(self, handle: str) -> None:
        """Take note that the server keeps the call."""
        self._accepted = Accepted(handle=handle)
        self._news.set()

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """Ask while the call goes on, and give the answer; none if the call is over before."""
        replied: asyncio.Future[tuple[Answer, ...]] = asyncio.get_running_loop().create_future()
        self._replies.append(replied)

        def reply(answers: Sequence[Answer]) -> None:
            if not replied.done():
                replied.set_result(tuple(answers))

        self._questions.append(Asked(questions=(question,), reply=reply))
        self._news.set()
        return await replied

    def close(self) -> None:
        """Stop the call, and let nobody wait for answers any more."""
        self.scope.cancel()
        for replied in self._replies:
            if not replied.done():
                replied.set_result(())

    def settle(self, answer: ToolOutput | Asked | MeshError) -> None:
        """Set the answer; the first stays."""
        if self._answer is None:
            self._answer = answer
            self._answered.set()
            self._news.set()

    def _show(self, progress: CallProgress) -> None:
        self._latest = self._progress = progress
        self._news.set()

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Give progress, at most twenty times a second, and questions, then the answer.

        Raises what the connection's task met.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if self._accepted is not None:
                accepted, self._accepted = self._accepted, None
                yield accepted
            if self._progress is not None:
                progress, self._progress = self._progress, None
                yield progress
            while self._questions:
                yield self._questions.pop(0)
            if self._answer is not None:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(_PACE_SECONDS):
                    await self._answered.wait()
        if isinstance(self._answer, MeshError):
            raise self._answer
        yield self._answer
