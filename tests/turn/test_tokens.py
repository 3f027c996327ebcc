"""What a model reads, in its own tokens."""

from typing import Any

import httpx2
import pytest

from tests.turn.mesh import KEY, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}]


async def post(mesh: Mesh, path: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post(f"{mesh.url}/v1/{path}", json=body)


async def test_a_text_becomes_tokens_and_these_the_text(mesh: Mesh) -> None:
    found = (await post(mesh, "tokenize", prompt="good old morning", return_token_strs=True)).json()
    back = (await post(mesh, "detokenize", model="scripted", tokens=found["tokens"])).json()

    assert found["count"] == len(found["tokens"]) == 3
    assert found["token_strs"] == ["good", " old", " morning"]
    assert found["max_model_len"] == 512
    assert back == {"prompt": "good old morning"}


async def test_a_conversation_has_the_tokens_of_its_prompt(mesh: Mesh) -> None:
    found = (await post(mesh, "tokenize", messages=HELLO, tools=TOOLS)).json()
    shorter = (await post(mesh, "tokenize", messages=HELLO, tools=TOOLS, add_generation_prompt=False)).json()
    answer = await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, tools=TOOLS)

    assert answer.usage is not None
    assert found["count"] == answer.usage.prompt_tokens
    assert found["token_strs"] is None
    assert shorter["tokens"] == found["tokens"][:-1]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("detokenize", {"tokens": [1]}, "tokens[0]"),
        ("detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("detokenize", {}, "tokens"),
    ],
)
async def test_what_cannot_be_read_is_refused(mesh: Mesh, path: str, body: dict[str, Any], param: str | None) -> None:
    response = await post(mesh, path, **body)

    assert response.status_code == 400
    assert (response.json()["error"]["param"] or None) == param


async def test_a_model_that_is_not_there_has_no_tokens(mesh: Mesh) -> None:
    assert (await post(mesh, "tokenize", prompt="a", model="nobody")).status_code == 404
