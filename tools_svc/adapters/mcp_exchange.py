"""One call on its way between two tasks."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

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
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[ToolOutput | Asked | MeshError] = loop.create_future()
        self._accepted: asyncio.Future[Accepted] = loop.create_future()
        self._progress: asyncio.Future[CallProgress] = loop.create_future()
        self._latest = CallProgress(progress=0)
        self._asked: asyncio.Future[None] = loop.create_future()
        self._questions: list[Asked] = []
        self._replies: list[asyncio.Future[tuple[Answer, ...]]] = []

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a snapshot of progress; it replaces one that nobody has read."""
        self._show(CallProgress(progress=progress, total=total, message=message or ""))

    def say(self, message: str) -> None:
        """Take words on how far it is; they stand beside the last numbers."""
        self._show(replace(self._latest, message=message))

    def accept(self, handle: str) -> None:
        """Take note that the server keeps the call."""
        self._accepted.set_result(Accepted(handle=handle))

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """Ask while the call goes on, and give the answer; none if the call is over before."""
        replied: asyncio.Future[tuple[Answer, ...]] = asyncio.get_running_loop().create_future()
        self._replies.append(replied)

        def reply(answers: Sequence[Answer]) -> None:
            if not replied.done():
                replied.set_result(tuple(answers))

        self._questions.append(Asked(questions=(question,), reply=reply))
        if not self._asked.done():
            self._asked.set_result(None)
        return await replied

    def close(self) -> None:
        """Stop the call, and let nobody wait for answers any more."""
        self.scope.cancel()
        for replied in self._replies:
            if not replied.done():
                replied.set_result(())

    def settle(self, answer: ToolOutput | Asked | MeshError) -> None:
        """Set the answer; the first stays."""
        if not self._answer.done():
            self._answer.set_result(answer)

    def _show(self, progress: CallProgress) -> None:
        self._latest = progress
        if self._progress.done():
            self._progress = asyncio.get_running_loop().create_future()
        self._progress.set_result(progress)

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Give progress, at most twenty times a second, and questions, then the answer.

        Raises what the connection's task met.
        """
        news: set[asyncio.Future[Any]] = {self._answer, self._accepted}
        while True:
            heard: set[asyncio.Future[Any]] = {self._progress, self._asked}
            await asyncio.wait(news | heard, return_when=asyncio.FIRST_COMPLETED)
            if self._accepted in news and self._accepted.done():
                news.discard(self._accepted)
                yield self._accepted.result()
            if self._progress.done():
                progress, self._progress = self._progress.result(), asyncio.get_running_loop().create_future()
                yield progress
            if self._asked.done():
                self._asked = asyncio.get_running_loop().create_future()
            while self._questions:
                yield self._questions.pop(0)
            if self._answer.done():
                break
            await asyncio.wait({self._answer}, timeout=_PACE_SECONDS)
        answer = self._answer.result()
        if isinstance(answer, MeshError):
            raise answer
        yield answer
