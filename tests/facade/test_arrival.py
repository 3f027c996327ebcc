"""Requests that come slowly: the connection of a client that takes too long to ask is closed, and no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from uvicorn.server import ServerState

from facade.edge.connection import Connection
from facade.edge.server import configured

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Served:
    """A server that answers once it is told to: where it is, and the bodies that came."""

    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read a request and answer it."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if message["type"] == "http.disconnect":
            return
        self.bodies.append(body)
        self.asked.set()
        await self.told.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served(*, seconds: float, rate: int = 1024) -> AsyncIterator[Served]:
    here = Served()
    config = configured(here, listen="127.0.0.1", port=0, stalled_seconds=30, arrival_seconds=seconds)  # type: ignore[arg-type]  # any ASGI application
    config.load()

    def connection() -> Connection:
        return Connection(
            config=config,
            server_state=ServerState(),
            app_state={},
            stalled_seconds=30,
            arrival_seconds=seconds,
            arrival_rate=rate,
            on_cut=lambda: None,
        )

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        here.port = server.sockets[0].getsockname()[1]
        yield here


async def everything(port: int, sent: bytes) -> bytes:
    """Send bytes and nothing more; gives what comes until the server closes the connection, which it must."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "sent",
    [b"P", b"\r\n", HEAD, HEAD + b"X-A: b", HEAD + b"Content-Length: 9\r\n\r\n{"],
    ids=["letter", "blank", "lines", "header", "body"],
)
async def test_a_request_that_is_not_whole_in_time_is_told_so_and_closed(sent: bytes) -> None:
    async with served(seconds=0.05) as server:
        answer = await everything(server.port, sent)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_too_slow"' in answer
    assert b"connection: close" in answer.lower()


async def test_a_client_that_asks_nothing_is_closed_without_a_word() -> None:
    async with served(seconds=0.05) as server:
        assert await everything(server.port, b"") == b""


async def test_a_head_that_grows_by_single_bytes_has_no_longer() -> None:
    async with served(seconds=0.2) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        reading = asyncio.create_task(reader.readline())  # what is sent after that resets the connection
        writer.write(HEAD + b"X-A: ")
        sent = 0
        while not reading.done():
            writer.write(b"a")
            sent += 1
            await asyncio.wait([reading], timeout=0.01)
        answer = reading.result()
        writer.close()

    assert sent > 1
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_has_the_longer_the_more_of_it_has_come() -> None:
    """Each byte that came gives a second here."""
    async with served(seconds=0.05, rate=1) as server:
        server.told.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD + b"Content-Length: 9\r\nConnection: close\r\n\r\n12345678")
        assert await everything(server.port, HEAD) != b""  # it began later, and its time is over
        writer.write(b"9")
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert server.bodies == [b"123456789"]


async def test_an_answer_may_take_longer_than_its_request() -> None:
    async with served(seconds=0.05) as server:
        asking = asyncio.create_task(
            everything(server.port, WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        )
        await server.asked.wait()
        silent = await everything(server.port, b"")
        assert not asking.done()
        server.told.set()
        answer = await asking

    assert silent == b""
    assert answer.endswith(b"\r\n\r\nok")


async def test_what_comes_slowly_behind_a_request_does_not_cost_that_its_answer() -> None:
    async with served(seconds=0.05) as server:
        asking = asyncio.create_task(everything(server.port, WHOLE + HEAD))
        await server.asked.wait()
        assert await everything(server.port, HEAD) != b""  # it began later, and its time is over
        server.told.set()
        answer = await asking

    assert answer.endswith(b"\r\n\r\nok")
    assert answer.count(b"HTTP/1.1") == 1


async def test_the_next_request_of_a_connection_has_the_same_time() -> None:
    async with served(seconds=0.05) as server:
        server.told.set()
        answer = await everything(server.port, WHOLE + HEAD)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer
