"""Answers that are gone on with: by the same model once it is back, and by another facade."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from facade.app import app as facade_app
from facade.settings import FacadeSettings
from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import KEY, SCRIPT, Mesh, facade, http_server, running, served, until
from threadmesh.api.context.v1 import runs_service_pb2 as pb
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.telemetry.metrics import new_registry

SLOW: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "slow"}],
    "stream": True,
    "metadata": {"thread_key": "k"},
}
SAID = "one two three four five six seven eight nine ten"


def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"})


def text_of(stream: str) -> str:
    chunks = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def begun(http: httpx2.AsyncClient, url: str, *, words: int) -> tuple[str, str, str]:
    """Ask, read some words and leave; gives the run, the id of the last event and what was read."""
    async with http.stream("POST", f"{url}/v1/chat/completions", json=SLOW) as response:
        seen = ""
        async for piece in response.aiter_text():
            seen += piece
            if len(text_of(seen).split()) >= words and seen.endswith("\n\n"):
                break
    return response.headers["x-run-id"], seen.split("id: ")[-1].split("\n")[0], seen


async def run_of(mesh: Mesh, run_id: str) -> pb.Run:
    run: pb.Run = (await mesh.runs.GetRun(pb.GetRunRequest(run_id=run_id))).run
    return run


async def test_an_answer_goes_on_when_its_model_is_back(tmp_path: Path) -> None:
    settings = InferenceSettings(model="none", script=str(SCRIPT))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, inference_app, settings)
        mesh = await stack.enter_async_context(running(tmp_path, inference_target=f"127.0.0.1:{port}"))
        http = await stack.enter_async_context(client())
        seen = ""
        async with http.stream("POST", f"{mesh.url}/v1/chat/completions", json=SLOW) as response:
            async for piece in response.aiter_text():
                seen += piece
                if "three" in text_of(seen) and first is not stack:
                    await first.aclose()
                    await served(stack, inference_app, settings, port=port)
                    first = stack
        run = await run_of(mesh, response.headers["x-run-id"])

    assert text_of(seen) == SAID
    assert seen.endswith("data: [DONE]\n\n")
    assert seen.count('"role":"assistant"') == 1
    assert run.finished.usage.completion_tokens == 10


async def test_an_answer_is_not_gone_on_with_by_another_model(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(SCRIPT.read_text().replace("ten", "eleven"))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, inference_app, InferenceSettings(model="none", script=str(SCRIPT)))
        mesh = await stack.enter_async_context(running(tmp_path, inference_target=f"127.0.0.1:{port}"))
        http = await stack.enter_async_context(client())
        run_id, _, seen = await begun(http, mesh.url, words=3)
        await first.aclose()
        await served(stack, inference_app, InferenceSettings(model="none", script=str(other)), port=port)

        async def ended() -> bool:
            return (await run_of(mesh, run_id)).state == pb.RUN_STATE_FAILED

        await until(ended)
        run = await run_of(mesh, run_id)
        page = await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=run.thread_id))

    assert run.finished.failure.reason == "NO_COMPATIBLE_REPLICA"
    assert page.items[-1].message.parts[0].text.startswith(text_of(seen))
    assert page.items[-1].status == threads.ITEM_STATUS_INCOMPLETE


async def test_a_facade_that_stops_hands_its_runs_over(tmp_path: Path) -> None:
    async with running(tmp_path) as mesh, AsyncExitStack() as stack, client() as http:
        first = await stack.enter_async_context(AsyncExitStack())
        run_id, place, seen = await begun(http, await facade(first, mesh.targets), words=3)
        await first.aclose()
        completion = "chatcmpl-" + run_id.removeprefix("run_")
        url = f"{mesh.url}/v1/chat/completions/{completion}/stream"
        rest = (await http.get(url, headers={"last-event-id": place})).text
        run = await run_of(mesh, run_id)

    assert text_of(seen + rest) == SAID
    assert (run.state, run.epoch) == (pb.RUN_STATE_SUCCEEDED, 2)


async def test_items_keep_their_ids_when_another_facade_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as mesh, AsyncExitStack() as stack, client() as http:
        conversation = (await mesh.openai.conversations.create()).id
        await mesh.openai.responses.create(model="scripted", input="progress", conversation=conversation)
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, mesh.targets)
        body = {"model": "scripted", "input": "slow", "conversation": conversation, "stream": True}
        async with http.stream("POST", f"{url}/v1/responses", json=body) as response:
            seen = ""
            async for piece in response.aiter_text():
                seen += piece
                if "three" in seen:
                    break
        await first.aclose()
        name = "resp_" + response.headers["x-run-id"].removeprefix("run_")
        rest = (await http.get(f"{mesh.url}/v1/responses/{name}?stream=true")).text
        items = await mesh.openai.conversations.items.list(conversation, limit=1)
        run = await run_of(mesh, response.headers["x-run-id"])

    assert rest.startswith(seen)
    assert f'"item_id":"{items.data[0].id}"' in seen
    assert (run.state, run.epoch) == (pb.RUN_STATE_SUCCEEDED, 2)


async def test_an_input_that_was_shortened_is_so_when_another_facade_goes_on(tmp_path: Path) -> None:
    long = [{"role": "user", "content": "word " * 600}, {"role": "assistant", "content": "Yes?"}]
    async with running(tmp_path) as mesh, AsyncExitStack() as stack, client() as http:
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, mesh.targets)
        body = {"model": "scripted", "input": [*long, {"role": "user", "content": "slow"}], "background": True}
        async with http.stream("POST", f"{url}/v1/responses", json={**body, "stream": True}) as response:
            seen = ""
            async for piece in response.aiter_text():
                seen += piece
                if "three" in seen:
                    break
        await first.aclose()
        name = "resp_" + response.headers["x-run-id"].removeprefix("run_")
        rest = (await http.get(f"{mesh.url}/v1/responses/{name}?stream=true")).text
        run = await run_of(mesh, response.headers["x-run-id"])

    assert f'"text":"{SAID}"' in rest
    assert (run.state, run.epoch) == (pb.RUN_STATE_SUCCEEDED, 2)


@pytest.mark.parametrize("facades", [2])
async def test_a_run_that_waits_for_its_turn_is_handed_over_too(tmp_path: Path, facades: int) -> None:
    async with running(tmp_path) as mesh, AsyncExitStack() as stack, client() as http:
        ahead, *_ = await begun(http, mesh.url, words=1)
        first = await stack.enter_async_context(AsyncExitStack())
        url = await facade(first, mesh.targets)
        body = {**SLOW, "stream": False}
        with pytest.raises(httpx2.TimeoutException):
            await http.post(f"{url}/v1/chat/completions", json=body, timeout=0.2)
        await first.aclose()

        async def both_ended() -> bool:
            listed = await mesh.runs.ListRuns(pb.ListRunsRequest(thread_id=(await run_of(mesh, ahead)).thread_id))
            return [run.state for run in listed.runs] == [pb.RUN_STATE_SUCCEEDED] * facades

        await until(both_ended, seconds=30)


async def test_a_facade_that_is_about_to_stop_says_so_and_lives(tmp_path: Path) -> None:
    async with running(tmp_path) as mesh, AsyncExitStack() as stack, client() as http:
        built = await stack.enter_async_context(facade_app(FacadeSettings(**mesh.targets), new_registry()))
        url = await stack.enter_async_context(http_server(built))
        before = await http.get(f"{url}/readyz")
        built.state.drain()
        built.state.drain()
        after, alive = await http.get(f"{url}/readyz"), await http.get(f"{url}/healthz")

    assert (before.status_code, after.status_code, alive.status_code) == (200, 503, 200)
    assert after.json()["units"]["facade"] == "This process is about to stop."
