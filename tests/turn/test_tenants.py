"""Two tenants at one facade: neither finds anything of the other's."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.mesh import KEY, OTHER_KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINE, THEIRS = ({"authorization": f"Bearer {key}"} for key in (KEY, OTHER_KEY))
CHAT = "/v1/chat/completions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


async def said(http: httpx2.AsyncClient, mesh: Mesh, text: str, **headers: str) -> httpx2.Response:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    return await http.post(f"{mesh.url}{CHAT}", json=body, headers=headers)


async def test_one_thread_key_is_two_threads(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    for headers in (MINE, THEIRS):
        await said(http, mesh, "first", **headers, **{"x-thread-key": "shared"})
    mine, theirs = [await said(http, mesh, "again", **who, **{"x-thread-key": "shared"}) for who in (MINE, THEIRS)]

    assert mine.headers["x-thread-id"] != theirs.headers["x-thread-id"]
    assert await mesh.window(mine.headers["x-thread-id"]) == [
        "first", "You said: first", "again", "You said: again"
    ]  # fmt: skip


async def test_another_tenants_thread_cannot_be_gone_on_with(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    mine = await said(http, mesh, "secret", **MINE, **{"x-thread-key": "alone"})
    thread = mine.headers["x-thread-id"]
    stranger = await said(http, mesh, "what was said?", **THEIRS, **{"x-thread-id": thread})

    assert (stranger.status_code, stranger.json()["error"]["code"]) == (404, "thread_not_found")
    assert (await said(http, mesh, "more", **MINE, **{"x-thread-id": thread})).status_code == 200


async def test_what_one_tenant_has_made_is_nowhere_for_another(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    chat = await said(http, mesh, "secret", **MINE)
    asked = {"model": "scripted", "input": "secret"}
    response = (await http.post(f"{mesh.url}/v1/responses", json=asked, headers=MINE)).json()["id"]
    thread = (await http.post(f"{mesh.url}/v1/threads", json={"key": "of one"}, headers=MINE)).json()["id"]
    run, completion = chat.headers["x-run-id"], chat.json()["id"]
    places = [
        ("GET", f"/v1/runs/{run}"),
        ("GET", f"/v1/runs/{run}/calls"),
        ("POST", f"/v1/runs/{run}/cancel"),
        ("GET", f"{CHAT}/{completion}/stream"),
        ("GET", f"/v1/responses/{response}"),
        ("GET", f"/v1/responses/{response}/input_items"),
        ("POST", f"/v1/responses/{response}/cancel"),
        ("DELETE", f"/v1/responses/{response}"),
        ("GET", f"/v1/threads/{thread}"),
        ("GET", f"/v1/threads/{thread}/window"),
        ("GET", f"/v1/threads/{thread}/retention"),
        ("POST", f"/v1/threads/{thread}/warm"),
        ("POST", f"/v1/threads/{thread}/summary"),
        ("POST", f"/v1/threads/{thread}/items/0/pin"),
        ("POST", f"/v1/threads/{thread}/items/0/unpin"),
        ("DELETE", f"/v1/threads/{thread}"),
    ]

    for method, place in places:
        answer = await http.request(method, f"{mesh.url}{place}", headers=THEIRS)
        missing = await http.request(method, f"{mesh.url}{_nobodys(place)}", headers=THEIRS)
        assert answer.status_code == 404, place
        assert _told(answer) == _told(missing), "it is told as if it did not exist"
    for place, body in (("", {"metadata": {"mine": "no"}}), ("/prune", {"max_items": 1})):
        answer = await http.post(f"{mesh.url}/v1/threads/{thread}{place}", json=body, headers=THEIRS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "thread_not_found")
    for query in ({}, {"key": "of one"}, {"key_prefix": "of"}):
        assert thread not in (await http.get(f"{mesh.url}/v1/threads", params=query, headers=THEIRS)).text
    assert (await http.get(f"{mesh.url}/v1/threads/{thread}", headers=MINE)).json()["metadata"] == {}
    runs = await http.get(f"{mesh.url}/v1/runs", params={"thread": chat.headers["x-thread-id"]}, headers=THEIRS)
    assert runs.json()["data"] == []
    assert run not in (await http.get(f"{mesh.url}/v1/runs", headers=THEIRS)).text
    assert (await http.get(f"{mesh.url}/v1/responses/{response}", headers=MINE)).status_code == 200


async def test_a_response_goes_on_only_with_the_tenants_own(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    first = await http.post(f"{mesh.url}/v1/responses", json={"model": "scripted", "input": "secret"}, headers=MINE)
    more = {"model": "scripted", "input": "go on", "previous_response_id": first.json()["id"]}
    stranger = await http.post(f"{mesh.url}/v1/responses", json=more, headers=THEIRS)

    assert (stranger.status_code, stranger.json()["error"]["code"]) == (400, "previous_response_not_found")


def _nobodys(place: str) -> str:
    """Give the address of the same of which there is none: the id with other digits."""
    return re.sub(r"[0-9a-f]{32}", "0" * 32, place)


def _told(answer: httpx2.Response) -> Any:
    error = json.loads(answer.text)["error"]
    return error["code"], error["type"]
