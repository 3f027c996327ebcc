"""What the mesh refuses once it has looked further than a request: models, tools, contexts, threads, places."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers=headers) as client:
        yield client


def said(path: str, text: str = "hello") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}


async def refused(http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    response = await http.post(path, json=body)
    told = response.json()["error"]
    assert told.keys() == {"message", "type", "param", "code"}
    return response.status_code, told


@pytest.mark.parametrize("path", [CHAT, RESPONSES, EMBEDDINGS])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model", ["gpt-99", "../small.gguf", "/etc/passwd", "https://example.com/a.gguf", "a\x07b", "x" * 256]
)
async def test_a_model_is_a_name_of_the_configuration_and_never_a_place(
    http: httpx2.AsyncClient, path: str, model: str, stream: bool
) -> None:
    status, told = await refused(http, path, {**said(path), "model": model, "stream": stream})

    assert (status, told["code"]) == (404, "model_not_found")


async def test_without_a_model_the_default_one_answers(http: httpx2.AsyncClient) -> None:
    for path in (CHAT, RESPONSES):
        response = await http.post(path, json=said(path))
        assert (response.status_code, response.json()["model"]) == (200, "scripted")


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_prompt_longer_than_the_context_is_told_with_both_numbers(http: httpx2.AsyncClient, path: str) -> None:
    status, told = await refused(http, path, said(path, "word " * 600))

    assert (status, told["code"]) == (400, "context_length_exceeded")
    assert told["param"] == ("messages" if path == CHAT else "input")
    assert "512" in told["message"]
    assert "60" in told["message"]


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_limit_beyond_the_context_is_cut_to_it(http: httpx2.AsyncClient, path: str) -> None:
    field = "max_tokens" if path == CHAT else "max_output_tokens"
    response = await http.post(path, json={**said(path), field: 100_000})

    assert response.status_code == 200


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("choice", ["required", "name"])
async def test_a_tool_that_must_be_called_is_one_of_the_request(
    http: httpx2.AsyncClient, path: str, choice: str
) -> None:
    named = {"type": "function", "name": "f", "function": {"name": "f"}}
    status, told = await refused(http, path, {**said(path), "tool_choice": named if choice == "name" else choice})

    assert (status, told["param"]) == (400, "tool_choice")


async def test_a_busy_thread_is_refused_where_that_is_wished(http: httpx2.AsyncClient, mesh: Mesh) -> None:
    ask = mesh.openai.chat.completions.create
    thread: Any = {"thread_key": "busy here", "on_disconnect": "cancel"}
    stream = await ask(model="scripted", messages=[{"role": "user", "content": "hang"}], stream=True, metadata=thread)
    await anext(aiter(stream))
    for path in (CHAT, RESPONSES):
        metadata = {**thread, "multitask": "reject"}
        status, told = await refused(http, path, {**said(path), "metadata": metadata})
        assert (status, told["code"], told["type"]) == (409, "thread_locked", "conflict_error")
    await stream.close()


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_thread_that_is_not_there_is_not_found(http: httpx2.AsyncClient, path: str) -> None:
    status, told = await refused(http, path, {**said(path), "metadata": {"thread_id": "thread_none"}})

    assert (status, told["code"]) == (404, "thread_not_found")


async def test_one_goes_on_with_a_response_that_is_there(http: httpx2.AsyncClient) -> None:
    name = (await http.post(RESPONSES, json=said(RESPONSES))).json()["id"]
    await http.delete(f"{RESPONSES}/{name}")
    for previous in (name, "resp_none", "nonsense", "resp_" + "a" * 80):
        status, told = await refused(http, RESPONSES, {**said(RESPONSES), "previous_response_id": previous})
        assert (status, told["code"], told["param"]) == (400, "previous_response_not_found", "previous_response_id")


async def test_the_stream_of_a_response_has_no_place_ahead_of_it(http: httpx2.AsyncClient) -> None:
    name = (await http.post(RESPONSES, json=said(RESPONSES))).json()["id"]
    ahead = await http.get(f"{RESPONSES}/{name}?stream=true&starting_after=999999")
    whole = await http.get(f"{RESPONSES}/{name}?stream=true")
    last = whole.text.count("\nevent: ") + whole.text.startswith("event: ") - 1
    at_end = await http.get(f"{RESPONSES}/{name}?stream=true&starting_after={last}")

    assert (ahead.status_code, ahead.json()["error"]["code"]) == (400, "event_id_ahead")
    assert without_comments(at_end.text) == "data: [DONE]\n\n"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/runs", "/v1/models"])
@pytest.mark.parametrize("name", ["%00", "a" * 300, "..%2f..%2fetc", "%2e%2e", "ä", "'; DROP TABLE runs; --"])
async def test_a_name_that_none_can_have_is_not_found(http: httpx2.AsyncClient, path: str, name: str) -> None:
    response = await http.get(f"{path}/{name}")

    assert response.status_code == 404
    assert response.json()["error"]["code"].endswith("not_found")
