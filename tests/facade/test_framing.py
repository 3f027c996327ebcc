"""Bytes that are no request, or more than one: each request is answered once, and none comes in behind another."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.mesh import http_server, until
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
REFUSED = [(400, "invalid_http")]
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    async with app(FacadeSettings(**NOBODY), new_registry()) as built, http_server(built) as url:
        yield int(url.rpartition(":")[2])


def post(*headers: str, body: bytes = b"", version: str = "1.1", path: str = "/v1/embeddings") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Read one answer; gives its status and error's code."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    body = json.loads(await reader.readexactly(length))
    assert "x-request-id: " in head
    return int(head.split(" ")[1]), body.get("error", {}).get("code", "")


async def answers(port: int, sent: bytes) -> list[tuple[int, str]]:
    """Send bytes and read answers until the server closes the connection, which it must."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        found = []
        with suppress(asyncio.IncompleteReadError):
            while True:
                found.append(await answer(reader))
        writer.close()
        return found


CODED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "sent",
    [
        post("Content-Length: 2", CODED, body=CHUNKS),
        post(CODED, "Content-Length: 2", body=CHUNKS),
        post("Content-Length: 2", "Content-Length: 44", body=b"{}"),
        post("Content-Length: 2, 2", body=b"{}"),
        post("Content-Length: +2", body=b"{}"),
        post("Content-Length: -2", body=b"{}"),
        post("Content-Length: 0x2", body=b"{}"),
        post("Content-Length: 99999999999999999999", body=b"{}"),
        post("Content-Length : 2", body=b"{}"),
        post("Transfer-Encoding: xchunked", body=CHUNKS),
        post("Transfer-Encoding: identity", body=CHUNKS),
        post("Transfer-Encoding: chunked, gzip", body=CHUNKS),
        post("Transfer-Encoding: gzip, chunked", body=CHUNKS),
        post("Transfer-Encoding: \x0bchunked", body=CHUNKS),
        post(CODED, CODED, body=CHUNKS),
        post(CODED, version="1.0", body=CHUNKS),
        post("X-A: b", " " + CODED, body=CHUNKS),
        post("Host: elsewhere", "Content-Length: 2", body=b"{}"),
        post("X-A: \x00", "Content-Length: 2", body=b"{}"),
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=repr,
)
async def test_a_head_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    port: int, sent: bytes
) -> None:
    assert await answers(port, sent + SMUGGLED) == REFUSED


@pytest.mark.parametrize(
    "chunks",
    [
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"2;a\n{}\r\n0\r\n\r\n",
        b"3\r\n{}\r\n0\r\n\r\n",
        b"1\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_chunks_of_a_bad_size_are_refused_and_nothing_behind_them_is_read(port: int, chunks: bytes) -> None:
    assert await answers(port, post(CODED, body=chunks) + SMUGGLED) == REFUSED


async def test_requests_that_come_together_are_answered_in_their_order(port: int) -> None:
    asked = get("/healthz") + get("/nowhere") + post(CODED, body=CHUNKS) + get("/healthz", "Connection: close")

    assert [status for status, _ in await answers(port, asked + SMUGGLED)] == [200, 404, 400, 200]


@pytest.mark.parametrize("before", [1, 2, 3])
async def test_what_cannot_be_read_does_not_take_the_place_of_an_answer_to_what_was_asked_before(
    port: int, before: int
) -> None:
    broken = post("Content-Length: x") + SMUGGLED
    broken_within = post(CODED, body=b"zz\r\n") + SMUGGLED

    for wrong in (broken, broken_within):
        assert await answers(port, get("/healthz") * before + wrong) == [(200, "")] * before


async def test_a_body_that_breaks_behind_its_answer_is_not_answered_again(port: int) -> None:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(CODED, path="/nowhere"))
        first = await answer(reader)
        writer.write(b"zz\r\n" + SMUGGLED)
        rest = await reader.read()
        writer.close()

    assert (first, rest) == ((404, "not_found"), b"")


async def test_a_body_that_nobody_reads_is_not_taken_for_a_request(port: int) -> None:
    unread = post(f"Content-Length: {len(SMUGGLED)}", path="/nowhere", body=SMUGGLED)

    assert await answers(port, unread + get("/nothing", "Connection: close")) == [(404, "not_found")] * 2


async def test_headers_behind_a_body_are_nobodys(port: int) -> None:
    trailers = b"X-Threadmesh-Strict: 1\r\nX-Large: " + b"a" * 20_000 + b"\r\n"
    said = b'{"input": "a", "zeal": 1}'
    sent = post(CODED, body=b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(said), said, trailers))

    [told, _] = await answers(port, sent + get("/healthz", "Connection: close"))

    assert told == (503, "unavailable")


@pytest.mark.parametrize(
    "start",
    [b"GET /healthz HTTP/1.1\r\nX-A: ", get("/")[:-2] + b"a", post(CODED, body=b"2;"), post(CODED, body=b"0\r\nX-A: ")],
    ids=["value", "name", "extension", "trailer"],
)
async def test_what_never_ends_ends_the_connection(port: int, start: bytes) -> None:
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        with pytest.raises(ConnectionError):
            for _ in range(1024):
                writer.write(b"a" * 64 * 1024)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            assert b" 200 " not in await reader.read()


async def test_a_client_that_leaves_within_its_request_is_no_defect(port: int) -> None:
    with capture_logs() as logged:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("Content-Length: 20", body=b"{"))
        await writer.drain()
        writer.close()

        async def recorded() -> bool:
            return any(line["event"] == "request" for line in logged)

        await until(recorded)

    assert [line["event"] for line in logged] == ["request"]
