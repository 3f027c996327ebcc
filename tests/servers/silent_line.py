"""A TCP connection through which, from some moment on, nothing comes any more, and of whose end nobody hears."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class SilentLine:
    """Passes bytes on to a port until `fall_silent`; both ends stay open all the while."""

    port: int = 0
    _stop: Callable[[], None] = field(default=lambda: None)
    _silent: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def fall_silent(self) -> None:
        """Pass nothing on from now on, ends of connections included, and take no further connections."""
        self._silent.set()
        self._stop()

    async def connect(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client with the target, each connection with one of its own."""
        there, back = await asyncio.open_connection("127.0.0.1", target)
        self._writers.append(back)
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(1 << 16):
            if not self._silent.is_set():
                sink.write(piece)

    def hold(self, writer: asyncio.StreamWriter) -> None:
        """Take a connection that is closed with the line."""
        self._writers.append(writer)

    async def close(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@asynccontextmanager
async def silent_line(target: int) -> AsyncIterator[SilentLine]:
    """Open a line to a port of this machine until the block ends."""
    line = SilentLine()
    joined: set[asyncio.Task[None]] = set()

    def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.hold(writer)
        joined.add(asyncio.create_task(line.connect(target, reader, writer)))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    line.port, line._stop = server.sockets[0].getsockname()[1], server.close
    try:
        yield line
    finally:
        server.close()
        for each in joined:
            each.cancel()
        await asyncio.gather(*joined, return_exceptions=True)
        await line.close()
