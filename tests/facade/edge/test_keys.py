"""What a request carries once its key was checked."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry

from facade.domain.keyring import Keyring
from facade.edge import errors
from facade.edge.keys import Guard, offered_tools
from facade.edge.metrics import FacadeMetrics
from tests.turn.mesh import http_server
from threadmesh.clock import SystemClock
from threadmesh.keys.key import Key, KeyLimits, Scope, digest, id_of, new_token

TOKEN = new_token()
KEY = Key(
    id=id_of(TOKEN),
    sha256=digest(TOKEN),
    tenant="family",
    scopes=frozenset({Scope.CHAT}),
    created=datetime(2026, 1, 2, tzinfo=UTC),
)


async def seen(keyring: Keyring, token: str) -> Any:
    """Give what a route sees of a request with a token."""
    routes = APIRouter()

    @routes.get("/")
    async def route(request: Request) -> dict[str, str]:
        state = request.state
        return {"key": state.key, "tenant": state.tenant, "tools": offered_tools(request, "all")}

    app = FastAPI()
    guard = Guard(
        lambda: keyring, FacadeMetrics(CollectorRegistry()), SystemClock(), usual=KeyLimits(), on_use=lambda _: None
    )
    app.include_router(routes, dependencies=guard.requires(Scope.CHAT))
    errors.install(app)
    async with http_server(app) as url, httpx2.AsyncClient() as http:
        return (await http.get(url, headers={"authorization": f"Bearer {token}"})).json()


async def test_the_tenant_is_that_of_the_key_and_the_key_is_told_apart_from_others() -> None:
    assert await seen(Keyring([], {KEY.id: KEY}), TOKEN) == {
        "key": f"tm_{KEY.id}",
        "tenant": "family",
        "tools": "none",
    }


@pytest.mark.parametrize(("keyring", "key"), [(Keyring(["listed"]), digest("listed")[:16]), (Keyring([]), "")])
async def test_listed_keys_and_callers_without_any_belong_to_the_default_tenant(keyring: Keyring, key: str) -> None:
    assert await seen(keyring, "listed") == {"key": key, "tenant": "", "tools": "all"}
