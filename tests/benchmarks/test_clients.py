import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.failures import RequestFailed
from benchmarks.load.clients import send
from benchmarks.load.http import Endpoint
from tests.benchmarks.given import chunk, chunked, stream

ANSWER = chunked(stream(chunk("a"), chunk("b"), chunk(finish="length")))


class Server:
    """Answers once `together` requests are there, so that a client too few would hang."""

    def __init__(self, together: int) -> None:
        self.asked: list[int] = []
        self._barrier = asyncio.Barrier(together)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.asked.append(json.loads(await reader.readexactly(length))["n"])
        await self._barrier.wait()
        writer.write(ANSWER)
        writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Endpoint]:
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        yield Endpoint(host="127.0.0.1", port=listening.sockets[0].getsockname()[1])


async def test_so_many_clients_ask_at_once_until_every_request_is_answered() -> None:
    server = Server(together=3)
    async with asyncio.timeout(10), serving(server) as endpoint:
        batch = await send(endpoint, [{"n": number} for number in range(6)], clients=3)

    assert sorted(server.asked) == list(range(6))
    assert len(batch.answers) == 6
    assert batch.tokens_per_second == pytest.approx(12 / batch.seconds)
    assert all(0 < first <= 1_000 * batch.seconds for first in batch.first_token_milliseconds)
    assert batch.cpu_percent > 0


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    async with serving(Server(together=1)) as endpoint:
        pass

    with pytest.raises(RequestFailed, match="did not answer"):
        await send(endpoint, [{"n": 0}], clients=1)
