"""What a model's service refuses is told with its place in the client's own request."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.inference_svc.tiny_media import png
from tests.inference_svc.tiny_model import write_model
from tests.inference_svc.tiny_models import tiny_encoder
from tests.turn.mesh import KEY, running, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
TOKENS, EMBEDDINGS, CONVERSATIONS = "/v1/responses/input_tokens", "/v1/embeddings", "/v1/conversations"

IMAGE = f"data:image/png;base64,{base64.b64encode(png(60, 40)).decode()}"
MODELS = """
[models.reader]
path = "model.gguf"
context_tokens = 8192
rope_override = true
[models.vectors]
path = "encoder.gguf"
"""
USER = {"role": "user", "content": "hi"}
SHOWN = {
    "role": "user",
    "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
}
LOOK = [{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": IMAGE}]
SEEN = {"role": "user", "content": LOOK}
BAD = {"type": "object", "properties": {"a": {"$ref": "http://example.com/a"}}, "required": ["a"]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx2.AsyncClient]:
    """Ask a real engine with a model that reads text only, and one that makes vectors."""
    directory = tmp_path_factory.mktemp("places")
    write_model(directory / "model.gguf")
    tiny_encoder(directory / "encoder.gguf")
    (directory / "models.toml").write_text(MODELS)
    settings = InferenceSettings(models_file=str(directory / "models.toml"), state_dir=directory / "inference")
    async with AsyncExitStack() as stack:
        target = f"127.0.0.1:{await served(stack, inference_app, settings)}"
        mesh = await stack.enter_async_context(running(directory, inference_target=target))
        client = httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers={"authorization": f"Bearer {KEY}"})
        yield await stack.enter_async_context(client)


async def param(http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> str | None:
    model = "vectors" if path == EMBEDDINGS else "reader"
    answer = await http.post(path, json={"model": model, **body})
    assert answer.status_code == 400, answer.text
    place: str | None = answer.json()["error"]["param"]
    return place


def said(path: str) -> dict[str, Any]:
    return {"messages": [USER]} if path == CHAT else {"input" if path == RESPONSES else "prompt": "hi"}


@pytest.mark.parametrize("path", [CHAT, RESPONSES, COMPLETIONS])
async def test_a_token_that_there_is_not_is_named_in_the_bias(http: httpx2.AsyncClient, path: str) -> None:
    assert await param(http, path, {**said(path), "logit_bias": {"99999999": 1}}) == "logit_bias.99999999"


async def test_an_answer_of_a_form_that_may_not_end_is_told_by_its_field(http: httpx2.AsyncClient) -> None:
    form = {"response_format": {"type": "json_object"}, "ignore_eos": True}

    assert await param(http, CHAT, {**said(CHAT), **form}) == "ignore_eos"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_image_that_the_model_cannot_read_is_named_in_the_messages(
    http: httpx2.AsyncClient, stream: bool
) -> None:
    thought = {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}
    system = {"role": "system", "content": "Look."}

    asked = {"messages": [system, USER, thought, SHOWN]}
    assert await param(http, CHAT, {**asked, "stream": stream}) == "messages[3].content[1]"
    assert await param(http, "/v1/tokenize", asked) == "messages[3].content[1]"


@pytest.mark.parametrize("path", [RESPONSES, TOKENS])
async def test_an_image_that_the_model_cannot_read_is_named_in_the_input(http: httpx2.AsyncClient, path: str) -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": LOOK}
    told = {"instructions": "Be brief."}

    assert await param(http, path, {**told, "input": [SEEN]}) == "input[0].content[1]"
    assert await param(http, path, {**told, "input": [USER, CALL, output, USER]}) == "input[2].output[1]"


async def test_an_image_is_counted_in_the_input_as_it_was_written(http: httpx2.AsyncClient) -> None:
    """References become other items, or none; and a conversation has items before the request's."""
    made = (await http.post(CONVERSATIONS, json={"items": [USER]})).json()["id"]
    items = (await http.get(f"{CONVERSATIONS}/{made}/items")).json()["data"]
    named = {"type": "item_reference", "id": items[0]["id"]}

    asked = {"conversation": made, "input": [named, {"role": "user", "content": "and"}, SEEN]}
    assert await param(http, RESPONSES, asked) == "input[2].content[1]"


async def test_an_image_of_an_earlier_request_has_no_place_in_this_one(http: httpx2.AsyncClient) -> None:
    made = (await http.post(CONVERSATIONS, json={"items": [SEEN]})).json()["id"]

    assert await param(http, RESPONSES, {"conversation": made, "input": "hi"}) == "input"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_place_in_a_schema_is_that_of_the_request(http: httpx2.AsyncClient, stream: bool) -> None:
    schema = {"name": "a", "schema": BAD}
    chat = {"response_format": {"type": "json_schema", "json_schema": schema}}
    response = {"text": {"format": {"type": "json_schema", **schema}}}

    place = await param(http, CHAT, {**said(CHAT), **chat, "stream": stream})
    assert (place or "").startswith("response_format.json_schema.schema#/properties/a")
    if not stream:  # a stream of responses tells every failure inside
        place = await param(http, RESPONSES, {**said(RESPONSES), **response})
        assert (place or "").startswith("text.format.schema#/properties/a")


async def test_a_tool_is_numbered_as_in_the_request(http: httpx2.AsyncClient) -> None:
    good, bad = {"name": "g", "parameters": {}}, {"name": "w", "parameters": BAD, "strict": True}
    served = {"type": "mcp", "server_label": "workshop"}
    in_chat = [{"type": "function", "function": each} for each in (good, bad)]
    chat = {"tools": in_chat, "tool_choice": {"type": "function", "function": {"name": "w"}}}
    tools = [served, {"type": "function", **good}, {"type": "function", **bad}]
    response = {"tools": tools, "tool_choice": {"type": "function", "name": "w"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "w"}}]}
    narrow = {"tools": in_chat, "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}

    for asked in (chat, narrow):
        place = await param(http, CHAT, {**said(CHAT), **asked})
        assert (place or "").startswith("tools[1].function.parameters#/properties/a")
    place = await param(http, RESPONSES, {**said(RESPONSES), **response})
    assert (place or "").startswith("tools[2].parameters#/properties/a")


async def test_a_text_that_is_too_long_for_vectors_is_numbered_only_in_a_list(http: httpx2.AsyncClient) -> None:
    long = "word " * 2000

    assert await param(http, EMBEDDINGS, {"input": long}) == "input"
    assert await param(http, EMBEDDINGS, {"input": ["a", long]}) == "input[1]"


async def test_a_page_behind_nothing_is_refused_alike_everywhere(http: httpx2.AsyncClient) -> None:
    stored = await http.get(CHAT, params={"after": "bogus"})
    made = (await http.post(CONVERSATIONS, json={})).json()["id"]
    items = await http.get(f"{CONVERSATIONS}/{made}/items", params={"after": "bogus"})

    for answer in (stored, items):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")
