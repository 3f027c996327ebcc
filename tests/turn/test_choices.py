"""Several answers to one prompt: together in a stream, in the thread only the first."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIStatusError

from facade.app import app as facade_app
from facade.settings import FacadeSettings
from inference_svc.edge.servicer import InferenceServicer
from tests.turn.engine import running_with
from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, Mesh, http_server, running
from tests.turn.test_turn import items, texts
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
SLOW: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "slow"}], "n": 3}
SAID = "one two three four five six seven eight nine ten"
MINE: Any = [{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}]


def spoken(stream: str) -> dict[int, str]:
    """Give what each choice of a stream says."""
    said: dict[int, str] = {}
    for line in stream.split("\n"):
        for choice in json.loads(line[6:])["choices"] if line.startswith("data: {") else ():
            said[choice["index"]] = said.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return said


async def test_several_answers_count_their_prompt_once(mesh: Mesh) -> None:
    one = await mesh.openai.chat.completions.create(model="scripted", messages=HELLO)
    three = await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, n=3)

    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert {choice.message.content for choice in three.choices} == {"You said: hello"}
    assert {choice.finish_reason for choice in three.choices} == {"stop"}
    assert one.usage is not None is not three.usage
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens == 3 * one.usage.completion_tokens


async def test_a_stream_of_several_answers_interleaves_them(mesh: Mesh) -> None:
    stream = await mesh.openai.chat.completions.create(**SLOW, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    order = [choice.index for chunk in chunks for choice in chunk.choices if choice.delta.content]
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]

    assert set(order) == {0, 1, 2}
    assert order != sorted(order)
    assert sorted(ends) == [0, 1, 2]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 30


async def test_a_stream_of_several_answers_goes_on_behind_every_event(mesh: Mesh) -> None:
    async with httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as http:
        response = await http.post(f"{mesh.url}/v1/chat/completions", json={**SLOW, "stream": True})
        completion = "chatcmpl-" + response.headers["x-run-id"].removeprefix("run_")
        blocks = without_comments(response.text).split("\n\n")
        for number, block in enumerate(blocks[:-2]):
            place = block.split("\n")[0].removeprefix("id: ")
            rest = await http.get(
                f"{mesh.url}/v1/chat/completions/{completion}/stream", headers={"last-event-id": place}
            )
            assert without_comments(rest.text) == "\n\n".join(blocks[number + 1 :])

    assert spoken(response.text) == {0: SAID, 1: SAID, 2: SAID}


async def test_the_first_answer_stands_in_the_thread(mesh: Mesh) -> None:
    create = mesh.openai.chat.completions.create
    await create(model="scripted", messages=HELLO, n=2, metadata={"thread_key": "several"})
    await create(model="scripted", messages=[{"role": "user", "content": "and"}], metadata={"thread_key": "several"})

    assert [texts(item) for item in await items(mesh, "several")] == [
        "hello",
        "You said: hello",
        "and",
        "You said: and",
    ]


async def test_each_answer_can_call_the_clients_tools_and_fit_a_form(mesh: Mesh) -> None:
    create = mesh.openai.chat.completions.create
    called = await create(model="scripted", messages=[{"role": "user", "content": "only mine"}], tools=MINE, n=2)
    form: Any = {"type": "json_object"}
    formed = await create(model="scripted", messages=HELLO, response_format=form, n=2, logprobs=True)

    assert [len(choice.message.tool_calls or ()) for choice in called.choices] == [1, 1]
    assert [choice.finish_reason for choice in called.choices] == ["tool_calls", "tool_calls"]
    assert [json.loads(choice.message.content or "") for choice in formed.choices] == [{"echo": "hello"}] * 2
    assert all(choice.logprobs and choice.logprobs.content for choice in formed.choices)


@pytest.mark.parametrize(("n", "tools", "says"), [(9, "none", "at most 8"), (2, "all", "tools of the mesh")])
async def test_what_cannot_be_had_several_times_is_refused(mesh: Mesh, n: int, tools: str, says: str) -> None:
    with pytest.raises(APIStatusError, match=says) as caught:
        await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, n=n, metadata={"tools": tools})

    assert (caught.value.status_code, caught.value.param) == (400, "n")


async def test_a_model_that_fails_one_answer_fails_them_all(mesh: Mesh) -> None:
    with pytest.raises(APIStatusError) as caught:
        await mesh.openai.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "break"}], n=2
        )

    assert caught.value.status_code == 503


async def test_another_facade_goes_on_with_every_answer(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running(tmp_path, workshop=False))
        http = await stack.enter_async_context(
            httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"})
        )
        first = await stack.enter_async_context(AsyncExitStack())
        settings = FacadeSettings(**mesh.targets, api_keys=KEY)
        url = await first.enter_async_context(
            http_server(await first.enter_async_context(facade_app(settings, new_registry())))
        )
        asked = {**SLOW, "stream": True, "metadata": {"on_disconnect": "continue"}}
        async with http.stream("POST", f"{url}/v1/chat/completions", json=asked) as response:
            async for piece in response.aiter_text():
                if "three" in piece:
                    break
        await first.aclose()
        completion = "chatcmpl-" + response.headers["x-run-id"].removeprefix("run_")
        whole = await http.get(f"{mesh.url}/v1/chat/completions/{completion}/stream")

    assert spoken(whole.text) == {0: SAID, 1: SAID, 2: SAID}
    assert whole.text.endswith("[DONE]\n\n")


async def test_each_answer_has_a_seed_made_of_the_requests(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Noting(InferenceServicer):
        def Generate(self, request: Any, context: Any) -> Any:
            seeds.append(request.sampling.seed)
            return super().Generate(request, context)

    async with running_with(Noting, tmp_path, workshop=False) as (mesh, _):
        for seed in (7, 2**63 - 1):
            await mesh.openai.chat.completions.create(model="scripted", messages=HELLO, n=2, seed=seed)

    assert sorted(seeds) == sorted([7, 8, 2**63 - 1, -(2**63)])
