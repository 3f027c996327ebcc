"""Two tenants at one facade: neither finds anything of the other's."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.facade.test_openapi import DOCUMENT
from tests.turn.mesh import KEY, OTHER_KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINE, THEIRS = ({"authorization": f"Bearer {key}"} for key in (KEY, OTHER_KEY))
CHAT = "/v1/chat/completions"
SECRET = {"role": "user", "content": "secret"}
WORKSHOP = {"type": "mcp", "server_label": "workshop"}
EVERYBODYS = {"/v1/models/{name}"}
"""Routes with a name of something that all tenants share."""


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


async def things(http: httpx2.AsyncClient, url: str) -> dict[str, dict[str, str]]:
    """Make one of everything that has an id; gives the ids by resource and by their names in paths."""

    async def made(path: str, **body: Any) -> httpx2.Response:
        answer = await http.post(f"{url}{path}", json=body, headers=MINE)
        assert answer.is_success, answer.text
        return answer

    chat = await made(CHAT, messages=[SECRET], store=True)
    waiting = await made("/v1/responses", input="progress", tools=[{**WORKSHOP, "require_approval": "always"}])
    conversation = (await made("/v1/conversations", items=[{"type": "message", **SECRET}])).json()["id"]
    items = await http.get(f"{url}/v1/conversations/{conversation}/items", headers=MINE)
    said_in_thread = await made(CHAT, messages=[SECRET], metadata={"thread_key": "of one"})
    completion = chat.json()["id"]
    return {
        "chat": {"completion_id": completion, "completion": completion},
        "responses": {"response": (await made("/v1/responses", input="secret")).json()["id"]},
        "conversations": {"conversation": conversation, "item": items.json()["data"][0]["id"]},
        "runs": {"run_id": chat.headers["x-run-id"]},
        "calls": {
            "run_id": waiting.headers["x-run-id"],
            "call_id": waiting.json()["output"][-1]["id"].partition("-")[2],
        },
        "threads": {"thread_id": said_in_thread.headers["x-thread-id"], "item": "0"},
    }


def routes() -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and an example of a body of each route that names something of a tenant's."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items() if "{" in path and path not in EVERYBODYS else ():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            examples = [example["value"] for example in content.get("examples", {}).values()]
            yield method.upper(), path, next(iter(examples), None)


async def test_what_one_tenant_has_made_is_nowhere_for_another(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    ids = await things(http, mesh.url)
    # What is deleted comes last, and before that what stands in it.
    in_order = sorted(routes(), key=lambda route: (route[0] == "DELETE", -route[1].count("{")))
    places = [
        (method, path.format(**ids["calls" if "{call_id}" in path else path.split("/")[2]]), body)
        for method, path, body in in_order
    ]
    for method, place, body in places:
        answer = await http.request(method, f"{mesh.url}{place}", json=body, headers=THEIRS)
        missing = await http.request(method, f"{mesh.url}{_nobodys(place)}", json=body, headers=THEIRS)
        assert answer.status_code == 404, f"{method} {place}"
        assert _told(answer) == _told(missing), "it is told as if it did not exist"
    kept = await http.get(f"{mesh.url}/v1/threads/{ids['threads']['thread_id']}", headers=MINE)
    assert kept.json()["metadata"] == {}
    for method, place, body in places:
        mine = await http.request(method, f"{mesh.url}{place}", json=body, headers=MINE)
        assert mine.status_code != 404, f"{method} {place} is asked for something that there is"


async def test_lists_of_one_tenant_show_nothing_of_another(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    chat = await said(http, mesh, "secret", **MINE)
    thread = (await http.post(f"{mesh.url}/v1/threads", json={"key": "a list"}, headers=MINE)).json()["id"]

    for query in ({}, {"key": "a list"}, {"key_prefix": "a l"}):
        assert thread in (await http.get(f"{mesh.url}/v1/threads", params=query, headers=MINE)).text
        assert thread not in (await http.get(f"{mesh.url}/v1/threads", params=query, headers=THEIRS)).text
    run, of_thread = chat.headers["x-run-id"], {"thread": chat.headers["x-thread-id"]}
    assert run in (await http.get(f"{mesh.url}/v1/runs", headers=MINE)).text
    assert run not in (await http.get(f"{mesh.url}/v1/runs", headers=THEIRS)).text
    assert (await http.get(f"{mesh.url}/v1/runs", params=of_thread, headers=THEIRS)).json()["data"] == []


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
