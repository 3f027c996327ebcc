"""Every way to ask for an answer or a vector counts once against a key's requests, and is refused alike."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from tests.turn.mesh import running
from tests.turn.test_keys import made
from threadmesh.keys.key import KeyLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")
SAID = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "What now?"},
]
ROUTES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/responses/compact": {"input": SAID},
    "/v1/embeddings": {"input": "hello"},
}
SOCKET = "socket"
Keys = Mapping[str, dict[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Keys]]:
    """Give the address of a mesh, and for each way to ask it a key of its own with two requests a minute."""
    directory: Path = tmp_path_factory.mktemp("limited")
    file = directory / "keys.toml"
    keys = {way: made(file, limits=KeyLimits(requests_per_minute=2)) for way in (*ROUTES, SOCKET)}
    async with running(directory, workshop=False, keys_file=str(file)) as running_mesh:
        yield running_mesh.url, keys


@pytest.mark.parametrize("path", ROUTES)
async def test_a_request_counts_once_and_one_too_many_is_told_when_to_come_back(
    mesh: tuple[str, Keys], path: str
) -> None:
    url, keys = mesh
    async with httpx2.AsyncClient(base_url=url, headers=keys[path], timeout=30) as http:
        first, second, third = [await http.post(path, json={"model": "scripted", **ROUTES[path]}) for _ in range(3)]

    assert 429 not in {first.status_code, second.status_code}
    assert [each.headers["x-ratelimit-remaining-requests"] for each in (first, second)] == ["1", "0"]
    _require_refused(third.status_code, third.json(), third.headers)


async def test_a_request_over_a_connection_counts_once_too_and_the_connection_counts_for_nothing(
    mesh: tuple[str, Keys],
) -> None:
    url, keys = mesh
    address = url.replace("http", "ws") + "/v1/responses"
    async with connect(address, additional_headers=keys[SOCKET]) as socket:
        ends = [await _end(socket) for _ in range(3)]

    assert [event["type"] for event in ends] == ["response.completed", "response.completed", "error"]
    _require_refused(ends[2]["status"], ends[2], ends[2]["headers"])


async def _end(socket: ClientConnection) -> dict[str, Any]:
    await socket.send(json.dumps({"type": "response.create", "model": "scripted", "input": "hello"}))
    async for message in socket:
        event: dict[str, Any] = json.loads(message)
        if event["type"] in {"response.completed", "response.failed", "error"}:
            return event
    raise AssertionError("the connection ended")


def _require_refused(status: int, body: dict[str, Any], headers: Mapping[str, str]) -> None:
    error = body["error"]
    assert (status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-should-retry"] == "true"
