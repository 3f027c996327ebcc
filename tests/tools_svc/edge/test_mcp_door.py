"""Who may come in at the gateway over HTTP, and with what."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from tests.tools_svc.gateways import ACCEPT, INITIALIZE, SHOP, Served, connected, served
from threadmesh.settings import ConfigurationError
from tools_svc.edge.mcp_gateway import LARGEST_BODY_BYTES
from tools_svc.settings import ToolsSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("door"), shop=SHOP) as running:
        yield running


async def test_a_wrong_or_missing_token_is_refused_whatever_it_brings(tmp_path: Path) -> None:
    async with served(tmp_path, token="right", shop=SHOP) as running, httpx2.AsyncClient(trust_env=False) as http:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic right"}):
            refused = await http.post(running.url, json=INITIALIZE, headers=ACCEPT | headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        async with connected("http", running, token="right") as client:
            assert not (await client.call_tool("shop__pid")).is_error


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"origin": "http://localhost:3000"}, 200),
    ],
)
async def test_pages_of_other_origins_are_kept_out(service: Served, headers: dict[str, str], status: int) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(service.url, json=INITIALIZE, headers=ACCEPT | headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"jsonrpc": "2.0", "id": 1}', 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', 400),
        (b'"' + b"x" * LARGEST_BODY_BYTES + b'"', 413),
    ],
)
@pytest.mark.parametrize("kind", ["http", "http-modern"])
async def test_what_is_no_request_is_refused_and_costs_nobody_else(
    service: Served, kind: str, body: bytes, status: int
) -> None:
    version = {"mcp-protocol-version": "2026-07-28"} if kind.endswith("modern") else {}
    async with connected(kind, service) as client, httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(service.url, content=body, headers=ACCEPT | version)
        assert answer.status_code == status
        assert "Traceback" not in answer.text
        assert not (await client.call_tool("shop__pid")).is_error


async def test_a_gateway_for_everybody_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS_GATEWAY_PORT", "0")
    monkeypatch.setenv("TOOLS_GATEWAY_LISTEN", "0.0.0.0")
    with pytest.raises(ConfigurationError, match="TOOLS_GATEWAY_TOKEN"):
        ToolsSettings.load()
    monkeypatch.setenv("TOOLS_GATEWAY_TOKEN", "secret")
    assert "secret" not in str(ToolsSettings.load().effective())
    monkeypatch.setenv("TOOLS_GATEWAY_PORT", "")
    assert ToolsSettings.load().gateway_port is None
