"""HTTP/1.1 over a bare socket: nothing of an answer is read into while it arrives, so the client costs little."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

NONE: Mapping[str, str] = MappingProxyType({})
_PIECE_BYTES = 65_536
_SECONDS = 300.0
"""Longest time that a server may be silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> "Endpoint":
        """Read `host:port`."""
        host, _, port = address.rpartition(":")
        return cls(host=host, port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request: when it was sent, and each piece that came back with its time, both in seconds of `perf_counter`."""

    sent: float
    pieces: tuple[tuple[float, bytes], ...]


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = NONE) -> bytes:
    """Write a request after which the server closes the connection."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode("ascii") + body


@asynccontextmanager
async def opened(endpoint: Endpoint, message: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request and give what comes back; the connection is closed at the end of the block."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(message)
        yield reader
    finally:
        writer.close()


async def exchange(endpoint: Endpoint, message: bytes) -> Exchange:
    """Send a request and wait for the whole answer. Raises `OSError` and `TimeoutError`."""
    sent = perf_counter()
    pieces = []
    async with opened(endpoint, message) as reader:
        while piece := await asyncio.wait_for(reader.read(_PIECE_BYTES), _SECONDS):
            pieces.append((perf_counter(), piece))
    return Exchange(sent=sent, pieces=tuple(pieces))
