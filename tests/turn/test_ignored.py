"""What a request asks for in vain is named in its response, whatever route it takes and however deep it stands."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PNG = "data:image/png;base64,iVBORw0KGgo="
HELLO = {"role": "user", "content": "hello"}
STRICT = {"x-threadmesh-strict": "1"}
FUNCTION = {"name": "f", "zeal": 1}
SAID: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [HELLO]},
    RESPONSES: {"input": "hello"},
    "/v1/completions": {"prompt": "hello"},
    "/v1/tokenize": {"prompt": "hello"},
    "/v1/detokenize": {"tokens": []},
    "/v1/responses/input_tokens": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/threads": {},
    "/v1/conversations": {},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers=headers) as client:
        yield client


async def ignored(http: httpx2.AsyncClient, path: str, **body: Any) -> str | None:
    response = await http.post(path, json={"model": "scripted", **SAID[path], **body})
    assert response.status_code == 200, response.text
    named: str | None = response.headers.get("x-threadmesh-ignored")
    return named


@pytest.mark.parametrize("path", [path for path in SAID if path != "/v1/embeddings"])
async def test_an_unknown_field_is_named_by_every_route(http: httpx2.AsyncClient, path: str) -> None:
    sent = {**SAID[path], "zeal": 1, "ardour": None}

    assert (await http.post(path, json=sent)).headers["x-threadmesh-ignored"] == "ardour, zeal"
    assert "x-threadmesh-ignored" not in (await http.post(path, json=SAID[path])).headers


async def test_an_unknown_field_is_named_also_where_the_request_fails(http: httpx2.AsyncClient) -> None:
    response = await http.post("/v1/embeddings", json={**SAID["/v1/embeddings"], "zeal": 1})

    assert (response.status_code, response.headers["x-threadmesh-ignored"]) == (501, "zeal")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CHAT, {"service_tier": "priority"}, "service_tier"),
        (CHAT, {"service_tier": "auto"}, None),
        (CHAT, {"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        (CHAT, {"stream": True, "stream_options": {"include_obfuscation": False}}, None),
        (CHAT, {"chat_template_kwargs": {"enable_thinking": False, "deeply": True}}, "chat_template_kwargs.deeply"),
        (CHAT, {"tools": [{"type": "function", "function": FUNCTION}]}, "tools[0].function.zeal"),
        (CHAT, {"messages": [{**HELLO, "annotations": []}]}, None),
        (RESPONSES, {"service_tier": "flex"}, "service_tier"),
        (RESPONSES, {"text": {"verbosity": "low"}}, "text.verbosity"),
        (RESPONSES, {"reasoning": {"summary": "auto", "effort": "low"}}, "reasoning.summary"),
        (RESPONSES, {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"]}, "include[1]"),
        (RESPONSES, {"tools": [{"type": "function", **FUNCTION}]}, "tools[0].zeal"),
        (
            RESPONSES,
            {"stream": True, "stream_options": {"include_obfuscation": True, "more": 1}},
            "stream_options.include_obfuscation, stream_options.more",
        ),
    ],
)
async def test_what_changes_nothing_is_named_with_its_path(
    http: httpx2.AsyncClient, path: str, body: dict[str, Any], named: str | None
) -> None:
    assert await ignored(http, path, **body) == named


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"verbosity": "low"}),
        (CHAT, {"service_tier": "priority"}),
        (CHAT, {"moderation": {"model": "m"}, "prompt_cache_options": {}, "prompt_cache_retention": "24h"}),
        (RESPONSES, {"moderation": {"model": "m"}, "prompt_cache_options": {}, "prompt_cache_retention": "24h"}),
        (RESPONSES, {"access_programs": [], "background_options": {}, "image": {}}),
        (RESPONSES, {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}),
        ("/v1/responses/input_tokens", {"personality": "friendly"}),
    ],
)
async def test_a_known_field_that_changes_nothing_is_named_and_not_refused(
    http: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    response = await http.post(path, json={"model": "scripted", **SAID[path], **body}, headers=STRICT)

    assert (response.status_code, response.headers["x-threadmesh-ignored"]) == (200, ", ".join(sorted(body)))


@pytest.mark.parametrize("detail", ["high", "auto", None])
async def test_how_closely_to_look_at_an_image_is_the_models_own(http: httpx2.AsyncClient, detail: str | None) -> None:
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}
    shown = {"type": "input_image", "image_url": PNG, "detail": detail}
    answers = [
        await http.post(CHAT, json={"messages": [{"role": "user", "content": [image]}]}),
        await http.post(RESPONSES, json={"input": [{"role": "user", "content": [shown]}]}),
    ]

    named = [answer.headers.get("x-threadmesh-ignored") for answer in answers]
    places = ["messages[0].content[0].image_url.detail", "input[0].content[0].detail"]
    assert named == (places if detail == "high" else [None, None])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"tools": [{"type": "function", "function": FUNCTION}]}, "tools[0].function.zeal"),
        (RESPONSES, {"text": {"format": {"type": "text", "zeal": 1}}}, "text.format.zeal"),
        ("/v1/tokenize", {"tools": [{"type": "function", "function": FUNCTION}]}, "tools[0].function.zeal"),
    ],
)
async def test_an_unknown_field_is_refused_also_inside_where_that_is_wished(
    http: httpx2.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await http.post(path, json={**SAID[path], **body}, headers=STRICT)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_parameter")
    assert response.json()["error"]["param"] == param


async def test_an_answer_can_be_sent_back_as_it_came_also_to_strict_routes(http: httpx2.AsyncClient) -> None:
    message = (await http.post(CHAT, json=SAID[CHAT])).json()["choices"][0]["message"]
    output = (await http.post(RESPONSES, json={"input": "think"})).json()["output"]
    answers = [
        await http.post(CHAT, json={"messages": [HELLO, message, HELLO]}, headers=STRICT),
        await http.post(RESPONSES, json={"input": [*output, HELLO]}, headers=STRICT),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("tier", [None, "auto", "default", "flex", "priority"])
async def test_the_tier_of_a_response_is_the_one_that_there_is(http: httpx2.AsyncClient, tier: str | None) -> None:
    response = await http.post(RESPONSES, json={"input": "hello", "service_tier": tier})
    completion = await http.post(CHAT, json={**SAID[CHAT], "service_tier": tier})
    stream = await http.post(CHAT, json={**SAID[CHAT], "service_tier": tier, "stream": True})

    assert (response.json()["service_tier"], completion.json()["service_tier"]) == ("default", "default")
    chunks = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
    assert {chunk["service_tier"] for chunk in chunks} == {"default"}


@pytest.mark.parametrize("place", ["", "/input_items"])
@pytest.mark.parametrize("name", ["include", "include[]"])
async def test_what_a_query_wants_included_is_checked_as_in_a_request(
    http: httpx2.AsyncClient, place: str, name: str
) -> None:
    response = (await http.post(RESPONSES, json={"input": "hello"})).json()["id"]
    path = f"{RESPONSES}/{response}{place}"
    known = await http.get(path, params={name: ["message.output_text.logprobs", "reasoning.encrypted_content"]})
    unknown = await http.get(path, params={name: ["message.output_text.logprobs", "bogus"]})

    assert (known.status_code, known.headers["x-threadmesh-ignored"]) == (200, "include[1]")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "include[1]")


async def test_a_stream_that_is_gone_on_with_is_not_padded_and_says_so(http: httpx2.AsyncClient) -> None:
    response = (await http.post(RESPONSES, json={"input": "hello"})).json()["id"]
    asked = [{"stream": "true", "include_obfuscation": wish} for wish in ("true", "false")]
    padded, plain = [await http.get(f"{RESPONSES}/{response}", params=each) for each in asked]

    assert padded.text == plain.text
    assert padded.headers["x-threadmesh-ignored"] == "include_obfuscation"
    assert "x-threadmesh-ignored" not in plain.headers
