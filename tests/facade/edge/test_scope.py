"""What surrounds every request."""

from typing import Any

import httpx2
from prometheus_client import CollectorRegistry
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from facade.app import app
from facade.settings import FacadeSettings
from tests.turn.mesh import http_server
from threadmesh.telemetry.metrics import new_registry


async def defective() -> None:
    raise ZeroDivisionError


async def answered(registry: CollectorRegistry, **headers: str) -> httpx2.Response:
    """Ask for a route that is defective."""
    async with app(FacadeSettings(), registry) as built:
        built.add_api_route("/defective", defective)
        async with http_server(built) as url, httpx2.AsyncClient() as http:
            return await http.get(f"{url}/defective", headers=headers)


def lines_of(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def test_a_defect_is_told_with_the_id_under_which_it_stands_in_the_log() -> None:
    with capture_logs(processors=[merge_contextvars]) as logs:
        response = await answered(new_registry())
        named = await answered(new_registry(), **{"x-request-id": "mine"})
    ids = [line["request_id"] for line in lines_of(logs, "request.defect")]

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"].startswith("req_")
    assert ids == [response.headers["x-request-id"], "mine"]
    assert named.headers["x-request-id"] == "mine"
    assert response.headers["x-should-retry"] == "false"


async def test_a_defect_is_counted_as_an_error_of_the_server() -> None:
    registry = new_registry()
    await answered(registry)
    labels = {"route": "/defective", "outcome": "5xx"}

    assert registry.get_sample_value("threadmesh_facade_requests_total", labels) == 1
