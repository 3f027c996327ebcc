"""Texts that are gone on with, as OpenAI's own client asks for it."""

from typing import Any

import httpx2
import pytest
from openai import APIStatusError

from tests.turn.mesh import KEY, Mesh, until
from threadmesh.api.context.v1 import runs_service_pb2 as runs

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def complete(mesh: Mesh, **request: Any) -> Any:
    return await mesh.openai.completions.create(**{"model": "scripted", "prompt": "hello", **request})


async def test_a_text_is_gone_on_with_and_no_run_is_made(mesh: Mesh) -> None:
    before = len((await mesh.runs.ListRuns(runs.ListRunsRequest())).runs)
    done = await complete(mesh)

    assert done.object == "text_completion"
    assert done.id.startswith("cmpl-")
    assert [choice.text for choice in done.choices] == ["You said: hello"]
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens == 4
    assert len((await mesh.runs.ListRuns(runs.ListRunsRequest())).runs) == before


async def test_a_continuation_has_sixteen_tokens_unless_it_says_otherwise(mesh: Mesh) -> None:
    assert (await complete(mesh, prompt="word " * 30)).usage.completion_tokens == 16
    assert (await complete(mesh, prompt="word " * 30, max_tokens=3)).choices[0].finish_reason == "length"


async def test_several_prompts_are_as_many_choices_in_their_order(mesh: Mesh) -> None:
    one = await complete(mesh, prompt="one")
    done = await complete(mesh, prompt=["one", "two", "three"], n=2)

    assert [choice.index for choice in done.choices] == list(range(6))
    assert [choice.text for choice in done.choices] == [
        f"You said: {word}" for word in ("one", "one", "two", "two", "three", "three")
    ]
    assert done.usage.prompt_tokens == 3 * one.usage.prompt_tokens
    assert done.usage.completion_tokens == 6 * one.usage.completion_tokens


async def test_tokens_are_a_prompt_and_can_be_echoed(mesh: Mesh) -> None:
    tokens = (await _post(mesh, "tokenize", prompt="good morning")).json()["tokens"]
    by_tokens = await complete(mesh, prompt=tokens, echo=True)
    several = await complete(mesh, prompt=[tokens, tokens[:1]])

    assert by_tokens.choices[0].text == "good morningYou said: good morning"
    assert [choice.text for choice in several.choices] == ["You said: good morning", "You said: good"]


async def test_a_stream_says_the_same_as_the_whole(mesh: Mesh) -> None:
    asked: Any = {"prompt": ["slow", "fast"], "logprobs": 2, "n": 2}
    whole = await complete(mesh, **asked)
    chunks = [
        chunk async for chunk in await complete(mesh, **asked, stream=True, stream_options={"include_usage": True})
    ]
    said = dict.fromkeys(range(4), "")
    tokens: dict[int, list[str]] = {index: [] for index in range(4)}
    offsets: dict[int, list[int]] = {index: [] for index in range(4)}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        said[choice.index] += choice.text
        tokens[choice.index] += choice.logprobs.tokens
        offsets[choice.index] += choice.logprobs.text_offset

    assert said == {choice.index: choice.text for choice in whole.choices}
    assert tokens == {choice.index: choice.logprobs.tokens for choice in whole.choices}
    assert offsets == {choice.index: choice.logprobs.text_offset for choice in whole.choices}
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_probabilities_come_in_their_old_form(mesh: Mesh) -> None:
    (choice,) = (await complete(mesh, logprobs=0)).choices

    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs == [0.0] * len(choice.logprobs.tokens)
    assert choice.logprobs.text_offset == [0, 3, 9]
    assert choice.logprobs.top_logprobs[0] == {"You": 0.0}


async def test_a_continuation_ends_before_a_stop_string(mesh: Mesh) -> None:
    assert (await complete(mesh, stop=[" said"])).choices[0].text == "You"


@pytest.mark.parametrize(
    ("wrong", "param", "says"),
    [
        ({"suffix": "end"}, "suffix", "between"),
        ({"best_of": 2}, "best_of", "equal to n"),
        ({"n": 9}, "n", "at most 8"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"logprobs": 6}, "logprobs", "5"),
        ({"logprobs": 1, "echo": True}, "logprobs", "echo"),
        ({"prompt": []}, "prompt", ""),
        ({"prompt": [[1], []]}, "prompt[1]", ""),
        ({"prompt": [2, -1]}, "prompt[1]", ""),
        ({"prompt": [2, 3]}, "prompt[0]", "no such token"),
        ({"prompt": ["a", "word " * 600]}, "prompt[1]", "context"),
        ({"prompt": "word " * 600, "stream": True}, "prompt", "context"),
    ],
)
async def test_what_cannot_be_had_is_refused_with_its_place(
    mesh: Mesh, wrong: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(APIStatusError) as caught:
        await complete(mesh, **wrong)

    assert (caught.value.status_code, caught.value.param) == (400, param)
    assert says in caught.value.message


async def test_a_model_that_breaks_off_is_an_error_inside_the_stream(mesh: Mesh) -> None:
    response = await _post(mesh, "completions", model="scripted", prompt="break", stream=True)

    assert response.status_code == 200
    assert "So far" in response.text
    assert '"error"' in response.text.split("\n\n")[-2]
    assert "[DONE]" not in response.text


async def test_a_client_that_leaves_stops_the_model(mesh: Mesh) -> None:
    before = await _disconnects(mesh)
    body = {"model": "scripted", "prompt": "hang", "stream": True}
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        async with http.stream("POST", f"{mesh.url}/v1/completions", json=body) as response:
            async for _ in response.aiter_text():
                break
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{mesh.url}/v1/completions", json={**body, "stream": False}, timeout=0.3)

    async def both_have_left() -> bool:
        return await _disconnects(mesh) == before + 2

    await until(both_have_left)


async def test_nobody_goes_on_without_a_key(mesh: Mesh) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        response = await http.post(f"{mesh.url}/v1/completions", json={"prompt": "a"})

    assert response.status_code == 401


async def _disconnects(mesh: Mesh) -> float:
    async with httpx2.AsyncClient(timeout=30) as http:
        text = (await http.get(f"{mesh.url}/metrics")).text
    counted = [line for line in text.splitlines() if "client_disconnects_total{" in line and "cancel" in line]
    return sum(float(line.split()[-1]) for line in counted)


async def _post(mesh: Mesh, path: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post(f"{mesh.url}/v1/{path}", json=body)
