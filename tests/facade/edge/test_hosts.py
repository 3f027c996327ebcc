"""By which names a facade on loopback may be addressed."""

from typing import Any

import httpx2
import pytest

from facade.app import app
from facade.edge.admission import duration
from facade.settings import FacadeSettings
from tests.turn.mesh import http_server
from threadmesh.telemetry.metrics import new_registry

NOBODY: Any = dict.fromkeys(("inference_target", "tools_target", "context_target"), "127.0.0.1:1")


SERVED = 503
"""The answer of a facade that is alone."""


async def statuses(names: list[str], *, path: str = "/v1/models", **settings: Any) -> list[int]:
    async with (
        app(FacadeSettings(**NOBODY, **settings), new_registry()) as built,
        http_server(built) as url,
        httpx2.AsyncClient() as http,
    ):
        return [(await http.get(f"{url}{path}", headers={"host": name})).status_code for name in names]


async def test_names_of_loopback_are_served_and_those_of_web_pages_are_not() -> None:
    known = ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1", "mesh.localhost", "127.5.5.5"]
    others = ["evil.example", "localhost.evil.example:8080", "192.168.1.5", "127.0.0.1.evil.example", "", "[::2]"]

    assert await statuses(known) == [SERVED] * len(known)
    assert await statuses(others) == [421] * len(others)


async def test_further_names_can_be_allowed() -> None:
    names = ["mesh.example:443", "Mesh.Example", "localhost", "other.example"]

    assert await statuses(names, hosts="mesh.example") == [SERVED, SERVED, SERVED, 421]


async def test_beyond_loopback_every_name_is_served_unless_some_are_named() -> None:
    beyond = {"listen": "0.0.0.0", "api_keys": "k"}
    names = ["mesh.example", "10.0.0.1"]

    assert await statuses(names, **beyond) == [401, 401]
    assert await statuses(names, **beyond, hosts="mesh.example") == [401, 421]
    for path in ("/healthz", "/metrics"):  # probes and Prometheus address a pod by its number
        assert await statuses(names, path=path, **beyond, hosts="mesh.example") == [200, 200]


async def test_no_header_says_what_serves_or_lets_a_page_of_another_origin_read() -> None:
    async with (
        app(FacadeSettings(**NOBODY), new_registry()) as built,
        http_server(built) as url,
        httpx2.AsyncClient() as http,
    ):
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answers = [
            await http.request(method, f"{url}/v1/models", headers=headers) for method in ("GET", "OPTIONS", "POST")
        ]
        pages = [(await http.get(f"{url}{path}")).status_code for path in ("/docs", "/redoc")]

    for answer in answers:
        assert not [name for name in answer.headers if name in {"server", "x-powered-by", "set-cookie"}]
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert pages == [404, 404]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (6.5, "6.5s"), (60, "1m0s"), (90.25, "1m30.25s"), (3600, "60m0s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text
