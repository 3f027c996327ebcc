"""The facade by itself, with nobody behind it: what it answers when the mesh is away, and what needs no mesh."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.mesh import http_server
from threadmesh.settings import ConfigurationError
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")
KEY = {"authorization": "Bearer second-key"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    settings = FacadeSettings(**NOBODY, api_keys="first-key, second-key")
    async with (
        app(settings, new_registry()) as built,
        http_server(built) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


async def test_it_lives_but_is_not_ready_and_says_what_is_missing(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/healthz")).status_code == 200

    ready = await http.get("/readyz")

    assert ready.status_code == 503
    assert "inference" in ready.json()["units"]["inference"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_answered_503_and_may_be_repeated(http: httpx2.AsyncClient, stream: bool) -> None:
    response = await http.post("/v1/chat/completions", json={**HELLO, "stream": stream}, headers=KEY)

    assert response.status_code == 503
    assert response.headers["x-should-retry"] == "true"
    assert int(response.headers["retry-after-ms"]) > 0
    assert response.json()["error"]["code"] == "unavailable"


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic second-key", "Bearer second-key'; DROP TABLE keys"]
)
async def test_without_a_valid_key_nothing_is_answered(http: httpx2.AsyncClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
        response = await http.request(method, path, headers=headers)

        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("DELETE", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/%00", 404),
        ("GET", "/docs", 404),
        ("POST", "/v1/chat/completions/", 404),
    ],
)
async def test_wrong_paths_and_methods_have_openais_shape(
    http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await http.request(method, path, headers=KEY)

    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {"content-encoding": "gzip"}])
async def test_other_media_are_refused(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    response = await http.post("/v1/chat/completions", content=b"{}", headers={**KEY, **headers})

    assert response.status_code == 415


async def test_an_unknown_field_is_refused_where_that_is_wished(http: httpx2.AsyncClient) -> None:
    headers = {**KEY, "x-threadmesh-strict": "1"}
    response = await http.post("/v1/chat/completions", json={**HELLO, "zeal": 1}, headers=headers)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "zeal"
    assert response.json()["error"]["code"] == "unknown_parameter"


async def test_a_request_id_is_returned_and_a_bad_one_is_replaced(http: httpx2.AsyncClient) -> None:
    kept = await http.get("/healthz", headers={"x-request-id": "abc-123"})
    replaced = await http.get("/healthz", headers={"x-request-id": "x" * 500})

    assert kept.headers["x-request-id"] == "abc-123"
    assert replaced.headers["x-request-id"].startswith("req_")


async def test_requests_are_counted_by_route_and_never_by_path(http: httpx2.AsyncClient) -> None:
    await http.get("/v1/models/some-private-name", headers=KEY)

    page = (await http.get("/metrics")).text

    routes = {
        sample.labels["route"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "route" in sample.labels
    }
    assert "/v1/models/{name:path}" in routes
    assert "some-private-name" not in page


async def test_the_openapi_document_describes_chat_completions(http: httpx2.AsyncClient) -> None:
    text = (await http.get("/openapi.json")).text
    document = json.loads(text)

    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ChatRequest"}
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred <= set(document["components"]["schemas"])


async def test_it_listens_beyond_loopback_only_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACADE_LISTEN", "0.0.0.0")
    with pytest.raises(ConfigurationError, match="FACADE_API_KEYS"):
        FacadeSettings.load({})

    monkeypatch.setenv("FACADE_API_KEYS", "a-key")
    assert FacadeSettings.load({}).listen == "0.0.0.0"


async def test_a_file_of_keys_lets_it_listen_beyond_loopback_only_if_it_holds_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    monkeypatch.setenv("FACADE_LISTEN", "0.0.0.0")
    monkeypatch.setenv("FACADE_KEYS_FILE", str(file))
    settings = FacadeSettings.load({})
    for text, why in ((None, "cannot be read"), ("", "it must hold a key"), ("[keys", "Expected")):
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigurationError, match=rf"keys\.toml:1: .*{why}"):
            async with app(settings, new_registry()):
                pass

    file.write_text(f'[keys.0123456789ab]\nsha256 = "{"ab" * 32}"\ncreated = 2026-01-01T00:00:00Z\n')
    async with app(settings, new_registry()) as built:
        assert built.routes


async def test_a_wrong_file_of_keys_ends_the_process_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("x = 1\n")
    environment = {"PATH": os.environ["PATH"], "FACADE_KEYS_FILE": str(file), "FACADE_PORT": "0"}
    command = [sys.executable, "-m", "facade"]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 78
    assert f"facade: configuration: {file}:1: x: no such key" in ended.stderr
