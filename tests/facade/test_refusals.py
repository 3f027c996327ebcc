"""What the parameters of a request may be, for chat completions and responses alike: one table, two routes.

The facade stands alone: 503 says that a request was found right and would have been answered.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from facade.app import app
from facade.settings import FacadeSettings
from tests.facade.test_envelope import NOBODY
from tests.turn.mesh import http_server
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
USER = {"role": "user", "content": "a"}
SAID = {CHAT: {"messages": [USER]}, RESPONSES: {"input": [USER]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        app(FacadeSettings(**NOBODY), new_registry()) as built,
        http_server(built) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


async def told(http: httpx2.AsyncClient, path: str, change: dict[str, Any]) -> tuple[int, str | None, str]:
    response = await http.post(path, json={**SAID[path], **change})
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return response.status_code, error["param"], error["message"]


def tool(name: str, path: str) -> dict[str, Any]:
    return {"type": "function", "name": name} if path == RESPONSES else {"type": "function", "function": {"name": name}}


BOTH: list[tuple[dict[str, Any], str]] = [
    ({"model": "x" * 300}, "model"),
    ({"model": 5}, "model"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"presence_penalty": -2.1}, "presence_penalty"),
    ({"frequency_penalty": 2.1}, "frequency_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"min_p": -0.1}, "min_p"),
    ({"min_p": 1.1}, "min_p"),
    ({"top_k": -1}, "top_k"),
    ({"repeat_penalty": -1}, "repeat_penalty"),
    ({"repeat_last_n": -1}, "repeat_last_n"),
    ({"seed": 2**63}, "seed"),
    ({"seed": -(2**63) - 1}, "seed"),
    ({"logit_bias": {str(key): 1 for key in range(1025)}}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"logit_bias": {"1": -101}}, "logit_bias.1"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": -1, "logprobs": True}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"metadata": {str(key): "a" for key in range(17)}}, "metadata"),
    ({"metadata": {"a": "b" * 513}}, "metadata.a"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"safety_identifier": "a" * 65}, "safety_identifier"),
]


@pytest.mark.parametrize("path", SAID)
@pytest.mark.parametrize(("change", "param"), BOTH, ids=[f"{param}-{number}" for number, (_, param) in enumerate(BOTH)])
async def test_what_is_out_of_its_range_is_refused_by_its_name(
    http: httpx2.AsyncClient, path: str, change: dict[str, Any], param: str
) -> None:
    assert (await told(http, path, change))[:2] == (400, param)


@pytest.mark.parametrize("path", SAID)
@pytest.mark.parametrize("change", [{"metadata": {"a" * 65: "b"}}, {"stream_options": {"include_usage": True}}])
async def test_what_is_wrong_as_a_whole_is_refused(http: httpx2.AsyncClient, path: str, change: dict[str, Any]) -> None:
    assert (await told(http, path, change))[0] == 400


@pytest.mark.parametrize("path", SAID)
@pytest.mark.parametrize(
    ("names", "param"),
    [
        (["a b"], "name"),
        ([""], "name"),
        (["a" * 65], "name"),
        (["ä"], "name"),
        (["a.b"], "name"),
        ([f"f{number}" for number in range(129)], "tools"),
    ],
    ids=["space", "empty", "long", "accent", "dot", "many"],
)
async def test_tools_have_plain_names_and_are_few(
    http: httpx2.AsyncClient, path: str, names: list[str], param: str
) -> None:
    status, place, _ = await told(http, path, {"tools": [tool(name, path) for name in names]})

    assert status == 400
    assert (place or "").split(".")[-1] == param


@pytest.mark.parametrize("path", SAID)
async def test_two_tools_may_not_have_one_name(http: httpx2.AsyncClient, path: str) -> None:
    status, _, message = await told(http, path, {"tools": [tool("f", path)] * 2})

    assert (status, "alike" in message) == (400, True)


def allowed(path: str, *tools: dict[str, Any], mode: str = "auto") -> dict[str, Any]:
    rule = {"mode": mode, "tools": list(tools)}
    return {"type": "allowed_tools", **(rule if path == RESPONSES else {"allowed_tools": rule})}


CHOICES: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"type": "custom", "custom": {"name": "f"}}, ".type"),
    (RESPONSES, {"type": "custom", "name": "f"}, ".type"),
    (RESPONSES, {"type": "web_search_preview"}, ".type"),
    (CHAT, allowed(CHAT, tool("f", CHAT), mode="none"), ".allowed_tools.mode"),
    (RESPONSES, allowed(RESPONSES, tool("f", RESPONSES), mode="none"), ".mode"),
    (CHAT, allowed(CHAT), ".allowed_tools.tools"),
    (RESPONSES, allowed(RESPONSES), ".tools"),
    (CHAT, allowed(CHAT, {"type": "custom"}), ".allowed_tools.tools[0].type"),
    (RESPONSES, allowed(RESPONSES, {"type": "image_generation"}), ".tools[0].type"),
    (CHAT, allowed(CHAT, tool("f", CHAT), tool("g", CHAT)), ".allowed_tools.tools[1].function.name"),
    (RESPONSES, allowed(RESPONSES, tool("f", RESPONSES), tool("g", RESPONSES)), ".tools[1].name"),
]


@pytest.mark.parametrize(("path", "choice", "place"), CHOICES, ids=[f"{path}{place}" for path, _, place in CHOICES])
async def test_a_rule_on_calls_has_a_known_form_and_names_tools_of_the_request(
    http: httpx2.AsyncClient, path: str, choice: dict[str, Any], place: str
) -> None:
    status, param, _ = await told(http, path, {"tools": [tool("f", path)], "tool_choice": choice})

    assert (status, param) == (400, f"tool_choice{place}")


@pytest.mark.parametrize("path", SAID)
async def test_a_request_may_be_confined_to_its_own_tools(http: httpx2.AsyncClient, path: str) -> None:
    choice = allowed(path, tool("f", path), mode="required")

    assert (await told(http, path, {"tools": [tool("f", path)], "tool_choice": choice}))[0] == 503


LIMITS = [(CHAT, "max_tokens"), (CHAT, "max_completion_tokens"), (RESPONSES, "max_output_tokens")]


@pytest.mark.parametrize(("path", "field"), LIMITS)
@pytest.mark.parametrize("value", [0, -1, 2**31, 1.5, "7", True])
async def test_a_limit_of_tokens_is_a_number_from_one(
    http: httpx2.AsyncClient, path: str, field: str, value: Any
) -> None:
    assert (await told(http, path, {field: value}))[:2] == (400, field)


PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def picture(path: str, url: Any) -> dict[str, Any]:
    if path == RESPONSES:
        return {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize("path", SAID)
@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "data:image/png;base64,!!!!",
        PNG.replace("png", "jpeg"),
        PNG + "A" * 4_300_000,
        "ä",
        5,
    ],
    ids=["https", "metadata", "file", "base64", "other", "large", "accent", "number"],
)
async def test_pictures_come_whole_and_are_what_they_say(http: httpx2.AsyncClient, path: str, url: Any) -> None:
    response = await http.post(path, json=picture(path, url))

    assert response.status_code in (400, 413)
    assert (response.json()["error"]["param"] or "body").startswith(
        ("messages[0].content[0]", "input[0].content", "body")
    )


@pytest.mark.parametrize("path", SAID)
async def test_a_good_picture_passes(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.post(path, json=picture(path, PNG))).status_code == 503


PART = {"type": "input_text", "text": "a"}
ONE: list[tuple[str, dict[str, Any], str | None]] = [
    (CHAT, {"messages": None}, "messages"),
    (CHAT, {"messages": []}, "messages"),
    (CHAT, {"messages": "a"}, "messages"),
    (CHAT, {"messages": [USER] * 2049}, "messages"),
    (CHAT, {"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"),
    (CHAT, {"messages": [USER, {"role": "user", "content": None}]}, "messages[1]"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 257}]}, "messages[0].content"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    (CHAT, {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "a"}]}, "messages[1].tool_call_id"),
    (CHAT, {"n": 0}, "n"),
    (CHAT, {"n": 129}, "n"),
    (CHAT, {"stop": ["a"] * 5}, "stop"),
    (CHAT, {"stop": ""}, "stop"),
    (CHAT, {"stop": ["a", ""]}, "stop[1]"),
    (CHAT, {"stop": "a" * 257}, "stop"),
    (CHAT, {"top_logprobs": 2}, "top_logprobs"),
    (RESPONSES, {"input": None}, "input"),
    (RESPONSES, {"input": []}, "input"),
    (RESPONSES, {"input": 5}, "input"),
    (RESPONSES, {"input": [USER] * 2049}, "input"),
    (RESPONSES, {"input": [{"role": "wizard", "content": "a"}]}, "input[0].role"),
    (RESPONSES, {"input": [{"role": "user", "content": None}]}, "input[0].content"),
    (
        RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * 257}]},
        "input[0].content",
    ),
    (RESPONSES, {"input": [{"type": "video"}]}, "input[0]"),
    (RESPONSES, {"input": [USER, {"type": "function_call_output", "call_id": "c", "output": "a"}]}, "input[1].call_id"),
    (RESPONSES, {"background": True, "store": False}, "store"),
    ("/v1/embeddings", {"input": ["a"] * 2049}, "input"),
    ("/v1/embeddings", {"input": ["a", ""]}, "input[1]"),
    ("/v1/embeddings", {"input": [1, 2]}, "input"),
    ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ("/v1/runs/r/calls/c/resolve", {}, "outcome"),
    ("/v1/runs/r/calls/c/resolve", {"outcome": "maybe"}, "outcome"),
    ("/v1/runs/r/calls/c/approve", {"reason": 5}, "reason"),
    ("/v1/runs/r/calls/c/deny", {"reason": "a" * 1025}, "reason"),
    ("/v1/runs/r/calls/c/answer", {"action": "perhaps"}, "action"),
    ("/v1/runs/r/calls/c/answer", {"content": "red"}, "content"),
    ("/v1/runs/r/calls/c/answer", {"answers": {"q": {"content": 5}}}, "answers.q.content"),
]


@pytest.mark.parametrize(("path", "change", "param"), ONE, ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(ONE)])
async def test_what_is_wrong_is_refused_with_its_place(
    http: httpx2.AsyncClient, path: str, change: dict[str, Any], param: str | None
) -> None:
    response = await http.post(path, json={**SAID.get(path, {}), **change})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_a_wrong_value_is_not_repeated(http: httpx2.AsyncClient) -> None:
    secret = "sk-" + "s" * 80
    for path, change in (
        (CHAT, {"tool_choice": secret}),
        (CHAT, {"stop": secret * 9}),
        (RESPONSES, {"input": {"a": secret}}),
    ):
        assert secret not in (await told(http, path, change))[2]
