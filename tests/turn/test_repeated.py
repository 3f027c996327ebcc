"""Requests that are sent again, in the words of chat completions and of responses."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.servers.given import QUESTIONER
from tests.turn.grammar import without_comments
from tests.turn.mesh import KEY, Mesh, running, served, tools_settings, until
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from tools_svc.app import app as tools_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BOTH = [CHAT, RESPONSES]
WORDS = "one two three four five six seven eight nine ten"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(mesh) as http:
        yield http


def client(mesh: Mesh) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers={"authorization": f"Bearer {KEY}"})


def body(path: str, text: str, **more: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}
    return {"model": "scripted", **said, **more}


def keyed(key: str, **headers: str) -> dict[str, str]:
    return {"idempotency-key": key, **headers}


def run_of(response: httpx2.Response) -> str:
    return str(response.headers["x-run-id"])


async def state(mesh: Mesh, run_id: str) -> int:
    return int((await mesh.runs.GetRun(runs.GetRunRequest(run_id=run_id))).run.state)


async def said(mesh: Mesh, thread_id: str) -> list[str]:
    response = await mesh.threads.ListItems(threads.ListItemsRequest(thread_id=thread_id))
    return ["".join(part.text for part in item.message.parts) for item in response.items]


async def test_a_key_does_not_keep_what_an_engine_has_refused(tmp_path: Path) -> None:
    rules = [{"match": "^busy$", "steps": [{"text": "There you are."}]}]
    (tmp_path / "idle.json").write_text(json.dumps({"rules": rules}))
    async with AsyncExitStack() as stack:
        busy = await stack.enter_async_context(AsyncExitStack())
        script = str(Path(__file__).with_name("script.json"))
        port = await served(busy, inference_app, InferenceSettings(model="none", script=script))
        target = f"127.0.0.1:{port}"
        mesh = await stack.enter_async_context(running(tmp_path, inference_target=target, workshop=False))
        http = await stack.enter_async_context(client(mesh))
        headers = keyed("once", **{"x-thread-key": "calm"})
        refused = await http.post(CHAT, json=body(CHAT, "busy"), headers=headers)
        await busy.aclose()
        idle = InferenceSettings(model="none", script=str(tmp_path / "idle.json"))
        await served(stack, inference_app, idle, port=port)
        answers = [await http.post(CHAT, json=body(CHAT, "busy"), headers=headers) for _ in range(2)]

        assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "true")
        assert [each.status_code for each in answers] == [200, 200]
        assert run_of(refused) != run_of(answers[0]) == run_of(answers[1])
        assert ["idempotent-replayed" in each.headers for each in answers] == [False, True]
        assert await said(mesh, answers[0].headers["x-thread-id"]) == ["busy", "There you are."]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("more", "status"), [({"model": "other"}, 404), ({"text": "word " * 600}, 400), ({"text": "break"}, 503)]
)
async def test_a_request_that_failed_is_answered_anew_with_its_key(
    http: httpx2.AsyncClient, path: str, more: dict[str, str], status: int
) -> None:
    asked = body(path, **{"text": "hello", **more})
    answers = [await http.post(path, json=asked, headers=keyed(f"{path} {status}")) for _ in range(2)]

    assert [each.status_code for each in answers] == [status, status]
    assert run_of(answers[0]) != run_of(answers[1])
    assert "idempotent-replayed" not in answers[1].headers


async def test_who_says_what_he_has_seen_goes_on_reading_the_run_that_failed(http: httpx2.AsyncClient) -> None:
    asked = body(CHAT, "break", stream=True)
    first = await http.post(CHAT, json=asked, headers=keyed("seen"))
    blocks = without_comments(first.text).split("\n\n")
    place = blocks[0].split("\n")[0].removeprefix("id: ")
    rest = await http.post(CHAT, json=asked, headers=keyed("seen", **{"last-event-id": place}))

    assert run_of(rest) == run_of(first)
    assert without_comments(rest.text) == "\n\n".join(blocks[1:])


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("stream", [True, False])
async def test_who_lost_the_connection_gets_the_answer_by_his_key(
    mesh: Mesh, http: httpx2.AsyncClient, path: str, stream: bool
) -> None:
    asked, headers = body(path, "slow", stream=stream), keyed(f"lost {path} {stream}")
    before = {run.id for run in (await mesh.runs.ListRuns(runs.ListRunsRequest())).runs}
    asking = asyncio.create_task(http.post(path, json=asked, headers=headers))
    new: list[str] = []

    async def begun() -> bool:
        listed = (await mesh.runs.ListRuns(runs.ListRunsRequest())).runs
        new[:] = [run.id for run in listed if run.id not in before and run.next_sequence > 1]
        return bool(new)

    await until(begun)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    again = await http.post(path, json=asked, headers=headers)

    assert again.headers["idempotent-replayed"] == "true"
    assert [run_of(again)] == new
    assert "ten" in again.text
    assert await state(mesh, new[0]) == runs.RUN_STATE_SUCCEEDED


class Reading:
    """A reader of a stream who may leave at any moment; has begun to read when it is made by `begun`."""

    def __init__(self, http: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> None:
        self._asked = http.stream("POST", path, json=body(path, "slow", stream=True), headers=headers)

    async def begun(self) -> "Reading":
        self.response = await self._asked.__aenter__()
        assert self.response.status_code == 200
        self._texts = self.response.aiter_text()
        self.text = await anext(self._texts)
        return self

    async def to_its_end(self) -> str:
        async for text in self._texts:
            self.text += text
        return self.text

    async def leave(self) -> None:
        await self.response.aclose()


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("leaves", ["the first", "the second"])
async def test_a_reader_who_leaves_stops_nothing_for_the_others(
    http: httpx2.AsyncClient, path: str, leaves: str
) -> None:
    headers = keyed(f"{path} {leaves}", **{"x-threadmesh-on-disconnect": "cancel"})
    both = [await Reading(http, path, headers).begun() for _ in range(2)]
    leaving, staying = both if leaves == "the first" else both[::-1]
    await leaving.leave()
    told = await staying.to_its_end()

    assert run_of(leaving.response) == run_of(staying.response)
    assert "ten" in told
    assert "stopped" not in told


@pytest.mark.parametrize("path", BOTH)
async def test_a_run_stops_when_the_last_of_its_readers_has_left(
    mesh: Mesh, http: httpx2.AsyncClient, path: str
) -> None:
    headers = keyed(f"all leave {path}", **{"x-threadmesh-on-disconnect": "cancel"})
    readers = [await Reading(http, path, headers).begun() for _ in range(2)]
    for reader in readers:
        await reader.leave()

    async def stopped() -> bool:
        return await state(mesh, run_of(readers[0].response)) == runs.RUN_STATE_CANCELLED

    await until(stopped)


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("name", "value"), [("x-thread-key", "another"), ("x-threadmesh-tools", "workshop__work"), ("x-thread-id", "")]
)
async def test_a_key_does_not_serve_a_request_that_means_something_else(
    http: httpx2.AsyncClient, path: str, name: str, value: str
) -> None:
    headers = keyed(f"{path} {name}")
    first = await http.post(path, json=body(path, "hello"), headers=headers)
    other = value or first.headers["x-thread-id"]
    again = await http.post(path, json=body(path, "hello"), headers={**headers, name: other})

    assert first.status_code == 200
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_how_a_run_is_read_does_not_make_it_another_request(http: httpx2.AsyncClient) -> None:
    headers = keyed("read otherwise")
    first = await http.post(CHAT, json=body(CHAT, "hello"), headers=headers)
    again = await http.post(CHAT, json=body(CHAT, "hello"), headers={**headers, "x-threadmesh-events": "1"})

    assert run_of(again) == run_of(first)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_given_again_by_its_key(http: httpx2.AsyncClient, stream: bool) -> None:
    tools = [{"type": "mcp", "server_label": "workshop", "require_approval": "never"}]
    asked = body(RESPONSES, "progress", stream=stream, tools=tools)
    answers = [await http.post(RESPONSES, json=asked, headers=keyed(f"given {stream}")) for _ in range(2)]

    assert ["idempotent-replayed" in each.headers for each in answers] == [False, True]
    assert "The tool said" in answers[0].text
    assert without_comments(answers[0].text) == without_comments(answers[1].text)


async def test_a_response_is_given_again_with_the_tools_that_it_was_made_with(tmp_path: Path) -> None:
    tools = [{"type": "mcp", "server_label": "workshop", "require_approval": "never"}]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        port = await served(first, tools_app, tools_settings(tmp_path / "apart"))
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{port}"))
        http = await stack.enter_async_context(client(mesh))
        asked = body(RESPONSES, "hello", stream=True, tools=tools)
        before = await http.post(RESPONSES, json=asked, headers=keyed("once"))
        await first.aclose()
        settings = tools_settings(tmp_path / "apart")
        other = {"command": sys.executable, "args": [QUESTIONER, "stdio"]}
        (tmp_path / "apart" / "servers.json").write_text(json.dumps({"mcpServers": {"workshop": other}}))
        await served(stack, tools_app, settings, port=port)
        await mesh.tools_are_ready()
        again = await http.post(RESPONSES, json=asked, headers=keyed("once"))
        anew = await http.post(RESPONSES, json=asked)

    assert "mcp_list_tools" in before.text
    assert without_comments(again.text) == without_comments(before.text)
    assert '"name":"meet"' in before.text
    assert '"name":"meet"' not in anew.text


@pytest.mark.parametrize("path", BOTH)
async def test_a_failure_after_a_tool_was_called_is_not_to_be_tried_again(http: httpx2.AsyncClient, path: str) -> None:
    with_tools = {"metadata": {"tools": "workshop__big"}}
    after = body(path, "work and break", **with_tools)
    answers = [await http.post(path, json=after, headers=keyed(f"after {path}")) for _ in range(2)]
    without = await http.post(path, json=body(path, "break", **with_tools))

    assert [each.status_code for each in (*answers, without)] == [503, 503, 503]
    assert [each.headers["x-should-retry"] for each in (*answers, without)] == ["false", "false", "true"]
    assert run_of(answers[0]) == run_of(answers[1])


async def test_a_stock_client_that_goes_on_behind_a_response_is_answered_once(http: httpx2.AsyncClient) -> None:
    first = (await http.post(RESPONSES, json=body(RESPONSES, "hello"))).json()["id"]
    asked = body(RESPONSES, "and again", previous_response_id=first)
    counted = [await http.post(RESPONSES, json=asked, headers={"x-stainless-retry-count": str(n)}) for n in range(3)]

    assert len({run_of(each) for each in counted}) == 1
