"""Threads over REST, the same that chat completions, responses and conversations have."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from tests.turn.mesh import KEY, Mesh, running, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(mesh) as client:
        yield client


def client_of(mesh: Mesh) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.AsyncClient(base_url=mesh.url, headers=headers, timeout=30)


async def asked(http: httpx2.AsyncClient, method: str, path: str, **sent: Any) -> dict[str, Any]:
    answer = await http.request(method, path, **sent)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def refused(http: httpx2.AsyncClient, method: str, path: str, **sent: Any) -> tuple[int, str]:
    answer = await http.request(method, path, **sent)
    return answer.status_code, answer.json()["error"]["code"]


async def thread(http: httpx2.AsyncClient, key: str, *texts: str) -> str:
    """Make the thread of a key, and let it answer to texts; gives its id."""
    made = await asked(http, "POST", "/v1/threads", json={"key": key})
    for text in texts:
        await said(http, key, text)
    return str(made["id"])


async def said(http: httpx2.AsyncClient, key: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}
    return await asked(http, "POST", CHAT, json=body, headers={"x-thread-key": key})


async def test_a_thread_is_made_found_described_and_deleted(http: httpx2.AsyncClient) -> None:
    made = await asked(http, "POST", "/v1/threads", json={"key": " me:1 ", "metadata": {"topic": "tea"}})
    again = await asked(http, "POST", "/v1/threads", json={"key": "me:1", "metadata": {"topic": "other"}})
    place = f"/v1/threads/{made['id']}"

    assert (made["object"], made["key"], made["metadata"]) == ("threadmesh.thread", "me:1", {"topic": "tea"})
    assert again == made
    assert await asked(http, "GET", place) == made
    changed = await asked(http, "POST", place, json={"metadata": {"mood": "good"}})
    assert changed == {**made, "metadata": {"mood": "good"}}
    assert (await asked(http, "POST", place, json={"metadata": None}))["metadata"] == {}
    gone = await asked(http, "DELETE", place)
    assert gone == {"id": made["id"], "object": "threadmesh.thread.deleted", "deleted": True}
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/window"), ("POST", "/warm"), ("GET", "/retention")):
        assert await refused(http, method, place + rest) == (404, "thread_not_found")


async def test_a_nameless_thread_is_made_once_for_an_idempotency_key(http: httpx2.AsyncClient) -> None:
    first, other = [await asked(http, "POST", "/v1/threads") for _ in range(2)]
    once = {"idempotency-key": "thread once"}
    repeated = [await http.post("/v1/threads", headers=once) for _ in range(2)]

    assert (first["key"], first["id"] == other["id"]) == (None, False)
    assert repeated[0].json() == repeated[1].json()
    assert [answer.headers.get("idempotent-replayed") for answer in repeated] == [None, "true"]


async def test_threads_are_listed_by_key_and_prefix_in_pages(http: httpx2.AsyncClient) -> None:
    names = [await thread(http, f"list:{number}") for number in range(3)]
    await said(http, "list:0", "hello")

    async def listed(**query: Any) -> tuple[list[str], dict[str, Any]]:
        page = await asked(http, "GET", "/v1/threads", params=query)
        return [each["id"] for each in page["data"]], page

    first, page = await listed(key_prefix="list:", limit=2)
    last, end = await listed(key_prefix="list:", limit=2, after=page["after"])
    assert (first, last) == ([names[0], names[2]], [names[1]]), "the latest used stands first"
    assert (page["has_more"], end["has_more"], end["after"]) == (True, False, None)
    assert (await listed(key_prefix="list:", order="asc"))[0] == [names[1], names[2], names[0]]
    assert (await listed(key="list:1"))[0] == [names[1]]
    assert (await listed(key="list:"))[0] == []
    assert set(names) <= set((await listed(limit=100))[0])


@pytest.mark.parametrize(
    "query",
    [{"key": "a", "key_prefix": "a"}, {"key": "a", "after": "x"}, {"key": "a\u0007"}, {"key_prefix": "a\u200b"},
     {"key": " "}, {"after": "nonsense"}, {"order": "up"}, {"limit": 0}, {"key": "x" * 513}],
)  # fmt: skip
async def test_a_list_that_cannot_be_meant_is_refused(http: httpx2.AsyncClient, query: dict[str, Any]) -> None:
    assert (await refused(http, "GET", "/v1/threads", params=query))[0] == 400


async def test_the_thread_of_a_stateless_request_is_none(http: httpx2.AsyncClient) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
    alone = (await http.post(CHAT, json=body)).headers["x-thread-id"]

    assert await refused(http, "GET", f"/v1/threads/{alone}") == (404, "thread_not_found")


async def test_a_thread_is_a_conversation_and_its_items_are_pinned_by_their_ids(http: httpx2.AsyncClient) -> None:
    place = f"/v1/threads/{await thread(http, 'pins', 'hello', 'more')}"
    found = await asked(http, "GET", place)
    items = (await asked(http, "GET", f"/v1/conversations/{found['conversation']}/items?order=asc"))["data"]

    by_id = await asked(http, "POST", f"{place}/items/{items[0]['id']}/pin")
    by_number = await asked(http, "POST", f"{place}/items/3/pin")
    assert (found["pinned"], by_id["pinned"], by_number["pinned"]) == ([], [0], [0, 3])
    assert (await asked(http, "POST", f"{place}/items/{items[0]['id']}/unpin"))["pinned"] == [3]
    for unknown in ("99", "msg_1", items[0]["id"].removesuffix("_0") + "_9"):
        assert (await refused(http, "POST", f"{place}/items/{unknown}/pin"))[0] == 404


async def test_a_window_shows_what_a_model_reads(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    name = await thread(http, "seen", "first", "second")
    place = f"/v1/threads/{name}/window"

    whole = await asked(http, "GET", place)
    assert (whole["model"], whole["omitted_items"], whole["token_budget"]) == ("scripted", 0, 512 - 60)
    assert [message["content"] for message in whole["messages"]] == await mesh.window(name)
    part = await asked(http, "GET", place, params={"token_budget": whole["tokens"] - 1})
    assert (part["model"], part["omitted_items"]) == (None, 2)
    assert [message["content"] for message in part["messages"]] == ["second", "You said: second"]
    assert await refused(http, "GET", place, params={"model": "unknown"}) == (404, "model_not_found")
    assert (await refused(http, "GET", place, params={"token_budget": 0}))[0] == 400


async def test_a_thread_that_was_read_ahead_is_known_to_its_next_turn(http: httpx2.AsyncClient) -> None:
    place = f"/v1/threads/{await thread(http, 'warm')}/warm"
    item = {"type": "message", "role": "user", "content": "words that nobody has read so far"}
    conversation = f"conv_{place.split('/')[3].removeprefix('thread_')}"
    assert (await asked(http, "POST", place))["tokens"] == 0, "nothing is there to be read"
    await asked(http, "POST", f"/v1/conversations/{conversation}/items", json={"items": [item]})

    first = await asked(http, "POST", place, json={"model": "scripted"})
    again = await asked(http, "POST", place, json={"model": "scripted"})
    answer = await said(http, "warm", "and a question")

    assert (first["model"], first["omitted_items"]) == ("scripted", 0)
    assert first["cached_tokens"] < first["tokens"] - 1
    assert again["tokens"] == first["tokens"]
    assert again["cached_tokens"] >= first["tokens"] - 1
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= first["tokens"] - 1


async def test_what_the_next_turn_is_told_is_read_ahead_as_well(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    await mesh.tools_are_ready()
    place = f"/v1/threads/{await thread(http, 'told', 'hello')}/warm"
    plain = await asked(http, "POST", place)
    told = await asked(http, "POST", place, json={"instructions": "Answer as a pirate would."})

    assert told["tokens"] > plain["tokens"]
    tools = {"x-threadmesh-tools": "all"}
    assert (await asked(http, "POST", place, headers=tools))["tokens"] >= plain["tokens"]
    assert await refused(http, "POST", place, headers={"x-threadmesh-tools": "nobodys__tool"}) == (
        404,
        "tool_not_found",
    )
    assert await refused(http, "POST", place, json={"model": "unknown"}) == (404, "model_not_found")


async def test_a_thread_too_long_for_the_model_is_read_ahead_as_far_as_it_fits(http: httpx2.AsyncClient) -> None:
    name = await thread(http, "long", *["word " * 90] * 4)
    read = await asked(http, "POST", f"/v1/threads/{name}/warm")

    assert read["omitted_items"] > 0
    assert 0 < read["tokens"] < 512


async def test_a_model_summarizes_what_stands_before_the_newest_turn(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    place = f"/v1/threads/{await thread(http, 'short', 'first', 'second', 'third')}"

    part = await asked(http, "POST", f"{place}/summary", json={"up_to": "1"})
    rest = await asked(http, "POST", f"{place}/summary")

    assert (part["covers"], rest["covers"]) == ({"first": 0, "last": 1}, {"first": 0, "last": 3})
    assert (await asked(http, "GET", place))["summary"] == rest["number"]
    assert part["text"]
    assert part["usage"]["total_tokens"] > 0
    assert await refused(http, "POST", f"{place}/summary") == (422, "precondition_failed")


async def test_a_thread_that_is_being_answered_is_not_summarized(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    name = await thread(http, "busy thread", "first")
    stream = await mesh.openai.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "slow"}],
        stream=True,
        extra_headers={"x-thread-key": "busy thread"},
    )
    await anext(aiter(stream))

    busy = await asked(http, "GET", f"/v1/threads/{name}")
    assert await refused(http, "POST", f"/v1/threads/{name}/summary") == (409, "thread_locked")
    runs = await asked(http, "GET", "/v1/runs", params={"thread": name})
    assert runs["data"][0]["id"] == busy["active_run"]
    assert {run["thread_id"] for run in runs["data"]} == {name}
    assert [chunk async for chunk in stream]


async def test_the_beginning_of_a_thread_goes_on_request(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    name = await thread(http, "old", "first", "second")
    place = f"/v1/threads/{name}/prune"

    foreseen = await asked(http, "POST", place, json={"max_items": 2, "dry_run": True})
    assert (foreseen["items"], foreseen["dry_run"], len(await mesh.window(name))) == (2, True, 4)
    assert (await asked(http, "POST", place, json={"max_items": 2}))["items"] == 2
    assert await mesh.window(name) == ["second", "You said: second"]
    for limits in ({}, {"dry_run": True}, {"max_items": 0}, {"max_age_seconds": 2**40}):
        assert (await refused(http, "POST", place, json=limits))[0] == 400


async def test_the_operators_rule_for_a_thread_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("ruled")
    async with AsyncExitStack() as stack:
        rules = ContextSettings(store="memory:", retention="kept:* max_age=2h max_items=5 only=summarized")
        target = f"127.0.0.1:{await served(stack, context_app, rules)}"
        mesh = await stack.enter_async_context(running(directory, workshop=False, context_target=target))
        http = await stack.enter_async_context(client_of(mesh))
        ruled, free = [await thread(http, key) for key in ("kept:1", "free")]

        found = await asked(http, "GET", f"/v1/threads/{ruled}/retention")
        assert (found["pattern"], found["max_age_seconds"], found["max_items"]) == ("kept:*", 7200, 5)
        assert (found["only_summarized"], found["max_idle_seconds"], found["max_tokens"]) == (True, None, None)
        assert (await asked(http, "GET", f"/v1/threads/{free}/retention"))["pattern"] is None
