"""What holds for every server that is reached over HTTP, whichever of the two transports it speaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.servers.given import invocation, mcp_source, output, running
from tests.servers.wild_http import WildHttp, result, said, wild_http
from tests.servers.wild_sse import WildSse, event, wild_sse
from threadmesh.conversation import Text
from tools_svc.adapters.mcp_source import McpSource
from tools_svc.adapters.server_config import HttpServer, SseServer

KINDS = ["http", "sse"]
HEADERS = {"Authorization": "Bearer ${env:TOKEN_OF_THE_SERVER}"}


@asynccontextmanager
async def connected(kind: str) -> AsyncIterator[tuple[McpSource, WildHttp | WildSse]]:
    """Run a source of a server that is sent a token; gives the server, too."""
    if kind == "http":
        async with (
            wild_http({"fine": lambda number: result(said("fine"), number)}) as http,
            running(mcp_source(HttpServer(url=http.url, headers=HEADERS))) as source,
        ):
            yield source, http
    else:
        async with (
            wild_sse({"fine": lambda number: event(said("fine"), number)}) as sse,
            running(mcp_source(SseServer(url=sse.url, headers=HEADERS))) as source,
        ):
            yield source, sse


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """Give what a proxy was sent that the environment names for every address; it answers nothing."""
    sent: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, address)
        monkeypatch.setenv(name.lower(), address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield sent
    server.close()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_SERVER", "token-of-the-server")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_of_the_environment_is_never_asked_nor_told_a_token(kind: str, proxy: list[bytes]) -> None:
    async with asyncio.timeout(10), connected(kind) as (source, server):
        assert (await output(source, invocation("fine"))).parts == (Text(text="fine"),)

    assert proxy == []
    assert all(b"Bearer token-of-the-server" in request for request in server.requests)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_request_asks_for_what_is_not_compressed(kind: str) -> None:
    async with connected(kind) as (source, server):
        await output(source, invocation("fine"))

    heads = [request.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n") for request in server.requests]
    encodings = [[line for line in head if line.startswith("accept-encoding:")] for head in heads]
    assert any(b"tools/call" in request for request in server.requests)
    assert encodings == [["accept-encoding: identity"]] * len(encodings)
