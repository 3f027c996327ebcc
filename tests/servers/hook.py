"""An HTTP server that keeps what is posted to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Hook:
    """What has come, as heads and bodies; the status to answer with; and whether answers are given at all."""

    url: str = ""
    status: str = "204 No Content"
    posted: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        self.posted.put_nowait((head, (await reader.readexactly(length)).decode()))
        await self.answering.wait()
        writer.write(f"HTTP/1.1 {self.status}\r\nconnection: close\r\n\r\n".encode())
        writer.close()


@asynccontextmanager
async def hook(*, answering: bool = True) -> AsyncIterator[Hook]:
    """Serve on a loopback port until the block ends."""
    kept = Hook()
    if answering:
        kept.answering.set()
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0)
    try:
        kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/transcripts"
        yield kept
    finally:
        kept.answering.set()
        server.close()
