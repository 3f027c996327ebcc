"""Connections go where the servers file allows, whatever names lead to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.servers.given import mcp_source, running
from tests.servers.hook import hook
from threadmesh.links.authority import issue, new_authority, write_pair
from tools_svc.adapters.guarded_network import GuardedTransport
from tools_svc.adapters.server_config import HttpServer, SseServer, Webhook
from tools_svc.adapters.webhook_listener import WebhookListener
from tools_svc.domain.notification import Notification
from tools_svc.domain.tool import ServerState

NAME = "tools.example"


class _Names:
    """A resolver that gives its answers one after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _client(names: _Names, *, private_network: bool) -> httpx2.AsyncClient:
    transport = GuardedTransport(private_network=private_network, resolve=names)
    return httpx2.AsyncClient(transport=transport, timeout=20)


async def test_a_connection_is_made_to_the_address_that_was_judged_and_names_the_urls_host() -> None:
    names = _Names(["127.0.0.1"], ["169.254.169.254"])
    async with hook() as kept, _client(names, private_network=True) as client:
        url = httpx2.URL(kept.url).copy_with(host=NAME)
        response = await client.post(url, content=b"x")

    assert response.status_code == 204
    assert names.asked == [NAME]
    assert f"host: {NAME}:{url.port}" in (await kept.posted.get())[0]


async def test_a_name_that_leads_elsewhere_the_second_time_is_refused_then() -> None:
    names = _Names(["127.0.0.1"], ["169.254.169.254"])
    async with hook() as kept, _client(names, private_network=True) as client:
        url = httpx2.URL(kept.url).copy_with(host=NAME)
        await client.post(url, content=b"x")
        with pytest.raises(httpx2.ConnectError, match="metadata"):
            await client.post(url, content=b"x")

    assert kept.posted.qsize() == 1


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"],
)
async def test_a_name_that_leads_into_a_private_network_is_refused_unless_that_is_allowed(address: str) -> None:
    async with _client(_Names([address]), private_network=False) as client:
        with pytest.raises(httpx2.ConnectError, match='"private_network": true'):
            await client.get(f"https://{NAME}/")


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1%1"),
        *("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1"),
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"),
    ],
)
async def test_what_is_no_place_for_a_server_is_refused_also_where_private_networks_are_allowed(address: str) -> None:
    async with _client(_Names([address]), private_network=True) as client:
        with pytest.raises(httpx2.ConnectError, match="no place for a server"):
            await client.get(f"https://{NAME}/")


async def test_of_several_addresses_the_allowed_ones_are_tried_in_their_order() -> None:
    names = _Names(["169.254.169.254", "::ffff:127.0.0.2", "127.0.0.1"])
    async with hook() as kept, _client(names, private_network=True) as client:
        response = await client.post(httpx2.URL(kept.url).copy_with(host=NAME), content=b"x")

    assert response.status_code == 204


async def test_this_machines_name_leads_nowhere_else() -> None:
    async with _client(_Names(["10.0.0.1"]), private_network=True) as client:
        with pytest.raises(httpx2.ConnectError, match="not of this machine"):
            await client.get("http://localhost/")


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0xa9.0376.169.254", "169.254.169.254."])
async def test_an_address_in_disguise_is_known_by_what_the_system_makes_of_it(host: str) -> None:
    transport = GuardedTransport(private_network=True)
    async with httpx2.AsyncClient(transport=transport, timeout=20) as client:
        with pytest.raises(httpx2.ConnectError, match=r"no place for a server|cannot be looked up"):
            await client.get(f"https://{host}/")


@asynccontextmanager
async def _tls_server(directory: Path, asked: list[str | None]) -> AsyncIterator[int]:
    now = datetime.now(UTC)
    authority = new_authority(now)
    write_pair(directory, "ca", authority)
    write_pair(directory, "tools", issue(authority, "tools", now, names=[NAME]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "tools.pem", directory / "tools.key")
    context.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_tls_asks_for_the_name_in_the_url_not_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    asked: list[str | None] = []
    async with _tls_server(tmp_path, asked) as port, _client(_Names(["127.0.0.1"]), private_network=True) as client:
        response = await client.get(f"https://{NAME}:{port}/")

    assert response.status_code == 204
    assert asked == [NAME]


@pytest.mark.parametrize("kind", [HttpServer, SseServer])
async def test_a_server_at_a_refused_address_is_unavailable_and_says_why(kind: type[HttpServer | SseServer]) -> None:
    source = mcp_source(kind(url="https://10.0.0.1/mcp"))
    async with running(source, ServerState.UNAVAILABLE):
        failure = source.status.failure

    assert failure is not None
    assert '"private_network": true' in failure.message


async def test_a_hook_at_a_refused_address_is_unreachable() -> None:
    outcomes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    listener = WebhookListener(
        {("bot", "heard"): Webhook(url="https://[::ffff:10.0.0.1]/")},
        count=lambda server, outcome: outcomes.put_nowait((server, outcome)),
    )
    listener.heard(Notification(server="bot", method="heard", params_json="{}"))
    task = asyncio.create_task(listener.run())
    try:
        with capture_logs() as logs:
            async with asyncio.timeout(20):
                outcome = await outcomes.get()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert outcome == ("bot", "unreachable")
    assert [entry["error"] for entry in logs if entry["event"] == "notification.error"] == ["ConnectError"]


@pytest.mark.parametrize("kind", [HttpServer, SseServer])
async def test_a_secret_in_a_servers_address_is_named_there_and_put_in(
    kind: type[HttpServer | SseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.put_nowait((await reader.readline()).decode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp?token=${{env:A_TOKEN}}"
        async with running(mcp_source(kind(url=url)), ServerState.UNAVAILABLE), asyncio.timeout(20):
            assert " /mcp?token=secret HTTP" in await lines.get()
