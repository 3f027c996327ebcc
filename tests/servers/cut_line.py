"""A line to a server that is cut in the middle of a question."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class CutLine:
    """Passes bytes between a socket of its own and that of a server, until it is told to cut."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._word = b""
        self._after = False
        self.socket = server.with_name("line")
        self.cuts = 0
        """How often it was cut."""

    @property
    def url(self) -> str:
        """Where to reach the server over this line."""
        return f"unix://{self.socket}"

    def cut_at(self, word: bytes, *, after: bool) -> None:
        """Cut the next question with this word: before the server gets it, or `after`, when it has answered."""
        self._word, self._after = word, after

    @asynccontextmanager
    async def open(self) -> AsyncIterator["CutLine"]:
        """Pass bytes until the block ends."""
        server = await asyncio.start_unix_server(self._pass, self.socket)
        try:
            yield self
        finally:
            server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_unix_connection(self._server)
        answers = asyncio.create_task(_copy(upstream, writer))
        try:
            while question := await reader.read(1 << 20):
                if self._word and self._word in question:
                    await self._cut(question, upstream, downstream, answers)
                    return
                downstream.write(question)
        finally:
            answers.cancel()
            for each in (writer, downstream):
                each.close()

    async def _cut(
        self,
        question: bytes,
        upstream: asyncio.StreamReader,
        downstream: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        self._word = b""
        self.cuts += 1
        answers.cancel()
        with suppress(asyncio.CancelledError):
            await answers
        if self._after:
            downstream.write(question)
            await upstream.read(1 << 16)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while answer := await reader.read(1 << 20):
            writer.write(answer)
