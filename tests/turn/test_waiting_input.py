"""What is shown of responses in the background that wait for their turn in a thread, and of those that never had it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.mesh import KEY, OTHER_KEY, Mesh, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = {"type": "mcp_call", "id": "mcp_1", "server_label": "clocks", "name": "now", "arguments": "{}", "output": "noon"}
INPUT: list[Any] = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": "time?"},
    CALL,
    {"type": "function_call", "call_id": "c1", "name": "mine", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "done"},
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
    {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
]
KINDS = ["message", "message", "mcp_call", "function_call", "function_call_output", "reasoning", "message"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=mesh.url, headers=headers, timeout=30) as client:
        yield client


async def asked(http: httpx2.AsyncClient, text: Any, **fields: Any) -> dict[str, Any]:
    body = {"model": "scripted", "input": text, "background": True, **fields}
    response = await http.post("/v1/responses", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def got(http: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    response = await http.get(path, params=query)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def told(http: httpx2.AsyncClient, response: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await got(http, f"/v1/responses/{response['id']}/input_items", order="asc", limit=100))["data"])


def texts(items: list[dict[str, Any]]) -> list[str]:
    return ["".join(part["text"] for part in item["content"]) for item in items]


async def stopped(http: httpx2.AsyncClient, response: dict[str, Any]) -> None:
    assert (await http.post(f"/v1/responses/{response['id']}/cancel")).json()["status"] == "cancelled"


async def completed(http: httpx2.AsyncClient, response: dict[str, Any]) -> dict[str, Any]:
    async def has_ended() -> bool:
        return bool((await got(http, f"/v1/responses/{response['id']}"))["status"] == "completed")

    await until(has_ended)
    return await got(http, f"/v1/responses/{response['id']}")


@asynccontextmanager
async def busy(http: httpx2.AsyncClient) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A conversation in which a response is made that never ends by itself; gives both."""
    conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    hanging = await asked(http, "hang", conversation=conversation)

    async def has_begun() -> bool:
        return bool((await got(http, f"/v1/responses/{hanging['id']}"))["output"])

    await until(has_begun)
    yield conversation, hanging
    await http.post(f"/v1/responses/{hanging['id']}/cancel")


async def test_what_a_response_is_asked_is_listed_while_it_waits_and_is_the_same_later(
    http: httpx2.AsyncClient,
) -> None:
    async with busy(http) as (conversation, hanging):
        response = await asked(http, INPUT, conversation=conversation)
        waiting = await told(http, response)
        shown = await got(http, f"/v1/responses/{response['id']}")
        run = await got(http, f"/v1/runs/{response['id'].replace('resp_', 'run_')}")
        unsaid = await got(http, f"/v1/conversations/{conversation}/items", order="asc")
        await stopped(http, hanging)
        answer = await completed(http, response)
        entered = await told(http, response)
        items = (await got(http, f"/v1/conversations/{conversation}/items", order="asc"))["data"]

    assert (response["status"], shown["status"], run["status"]) == ("queued", "queued", "queued")
    assert (shown["output"], shown["usage"], shown["completed_at"], shown["error"]) == ([], None, None, None)
    assert [item["type"] for item in waiting[1:]] == KINDS
    assert texts(waiting[:1]) == ["hang"]
    assert [item["id"] for item in unsaid["data"]] == [waiting[0]["id"]]
    assert entered[-len(KINDS) :] == waiting[1:]
    assert items[-len(KINDS) - 1 :] == [*waiting[1:], *_kept(answer["output"])]


def _kept(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "content": [{**part, "logprobs": []} for part in item["content"]]} for item in output]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_list_begun_while_a_response_waits_is_gone_on_with_when_it_has_its_turn(
    http: httpx2.AsyncClient, order: str
) -> None:
    async with busy(http) as (conversation, hanging):
        response = await asked(http, INPUT, conversation=conversation)
        path = f"/v1/responses/{response['id']}/input_items"
        waiting = await told(http, response)
        begun = await got(http, path, order=order, limit=3)
        await stopped(http, hanging)
        await completed(http, response)
        rest = await got(http, path, order=order, limit=100, after=begun["last_id"])
        whole = [item["id"] for item in await told(http, response)]

    names = [item["id"] for item in (*begun["data"], *rest["data"])]
    assert begun["has_more"]
    assert len(names) == len(set(names))
    assert names == [name for name in (whole if order == "asc" else whole[::-1]) if name in names]
    assert {item["id"] for item in waiting} <= set(names)


async def test_items_of_input_are_found_named_and_deleted_by_their_ids(http: httpx2.AsyncClient) -> None:
    async with busy(http) as (conversation, hanging):
        response = await asked(http, INPUT, conversation=conversation)
        waiting = (await told(http, response))[1:]
        place = f"/v1/conversations/{conversation}/items"
        unknown = await http.get(f"{place}/{waiting[0]['id']}")
        refused = await http.get(place, params={"after": waiting[0]["id"]})
        await stopped(http, hanging)
        await completed(http, response)
        found = [await got(http, f"{place}/{item['id']}") for item in waiting]
        behind = await got(http, place, order="asc", after=waiting[3]["id"])
        before = await got(http, place, order="desc", after=waiting[3]["id"])
        copied = await asked(http, [{"type": "item_reference", "id": item["id"]} for item in waiting[:3]])
        copies = await told(http, copied)
        for item in waiting[3:]:
            assert (await http.delete(f"{place}/{item['id']}")).status_code == 200
        left = await told(http, response)

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "item_not_found")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "after")
    assert found == waiting
    assert [item["id"] for item in behind["data"][:3]] == [item["id"] for item in waiting[4:]]
    assert [item["id"] for item in before["data"][:3]] == [item["id"] for item in waiting[2::-1]]
    assert [item["type"] for item in copies] == KINDS[:3]
    assert [item["id"] for item in left[-3:]] == [item["id"] for item in waiting[:3]]


async def test_a_response_that_is_cancelled_while_it_waits_still_says_what_it_was_asked(
    http: httpx2.AsyncClient,
) -> None:
    async with busy(http) as (conversation, hanging):
        response = await asked(http, INPUT, conversation=conversation)
        waiting = await told(http, response)
        await stopped(http, response)
        cancelled = await got(http, f"/v1/responses/{response['id']}")
        at_once = await told(http, response)
        await stopped(http, hanging)
        await completed(http, await asked(http, "hello", conversation=conversation))
        later = await told(http, response)
        kept = await http.delete(f"/v1/responses/{response['id']}")
        items = await got(http, f"/v1/conversations/{conversation}/items", order="asc")
        assert (await http.delete(f"/v1/conversations/{conversation}")).status_code == 200
        gone = await http.get(f"/v1/responses/{response['id']}/input_items")

    assert (cancelled["status"], cancelled["output"], cancelled["error"]) == ("cancelled", [], None)
    assert at_once == later == waiting
    assert kept.status_code == 422
    assert {item["id"] for item in items["data"]} & {item["id"] for item in waiting} == {waiting[0]["id"]}
    assert gone.status_code == 404


async def test_a_response_that_waits_is_deleted_once_it_is_cancelled(http: httpx2.AsyncClient) -> None:
    first = await asked(http, "hang")
    response = await asked(http, "never mind", previous_response_id=first["id"])
    path = f"/v1/responses/{response['id']}"
    busy_still = await http.delete(path)
    listed = texts(await told(http, response))
    await stopped(http, response)
    await stopped(http, first)
    deleted = await http.delete(path)

    assert (busy_still.status_code, busy_still.json()["error"]["code"]) == (409, "thread_locked")
    assert listed == ["hang", "never mind"]
    assert deleted.json()["deleted"] is True
    assert (await http.get(f"{path}/input_items")).status_code == 404


async def test_another_way_to_go_on_behind_a_response_that_waits_knows_what_that_is_asked(
    mesh: Mesh, http: httpx2.AsyncClient
) -> None:
    async with busy(http) as (conversation, hanging):
        second = await asked(http, "one", conversation=conversation)
        third = await asked(http, "two", previous_response_id=second["id"])
        apart = await completed(http, await asked(http, "three", previous_response_id=second["id"]))
        counted = [
            await mesh.openai.responses.input_tokens.count(input="three", previous_response_id=response["id"])
            for response in (hanging, second, third)
        ]

        assert texts(await told(http, third)) == ["hang", "one", "two"]
        assert texts(await told(http, apart)) == ["hang", "one", "three"]
        assert apart["output"][0]["content"][0]["text"] == "You said: three"
        tokens = [each.input_tokens for each in counted]
        assert tokens == sorted(set(tokens))
        await stopped(http, third)


async def test_what_waits_is_nobody_elses(http: httpx2.AsyncClient) -> None:
    async with busy(http) as (conversation, _):
        response = await asked(http, "mine", conversation=conversation)
        theirs = {"authorization": f"Bearer {OTHER_KEY}"}
        for place in ("", "/input_items"):
            refused = await http.get(f"/v1/responses/{response['id']}{place}", headers=theirs)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "response_not_found")
        await stopped(http, response)
        refused = await http.get(f"/v1/responses/{response['id']}/input_items", headers=theirs)

    assert refused.status_code == 404
