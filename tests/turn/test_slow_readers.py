"""Readers that do not read: what waits for them is little, and they can come back for the rest."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.turn.mesh import KEY, OTHER_KEY, Mesh, running, served, until
from tests.turn.test_overload import figure
from threadmesh.api.context.v1 import runs_service_pb2 as runs

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 12_000
TOKEN = '"logprob":'
ASKED = json.dumps(
    {
        "model": "scripted",
        "messages": [{"role": "user", "content": "much"}],
        "stream": True,
        "logprobs": True,
        "max_tokens": 2 * TOKENS,
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    directory = tmp_path_factory.mktemp("slow")
    script = directory / "script.json"
    steps: list[dict[str, Any]] = [{"text": "12345678" * TOKENS}, {"stall": True}]
    rules = [{"match": "^much$", "role": "user", "steps": steps}]
    script.write_text(json.dumps({"context_tokens": 4 * TOKENS, "rules": rules}))
    async with AsyncExitStack() as stack:
        port = await served(stack, inference_app, InferenceSettings(model="none", script=str(script)))
        settings = {"inference_target": f"127.0.0.1:{port}", "stalled_seconds": 0.5}
        yield await stack.enter_async_context(running(directory, workshop=False, **settings))


@pytest_asyncio.fixture(loop_scope="module")
async def http(mesh: Mesh) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=mesh.url, timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


async def asked_and_left_unread(url: str) -> socket.socket:
    """Ask for a long answer with little room to receive it, and read no more than its head."""
    host, port = url.removeprefix("http://").split(":")
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, (host, int(port)))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n"
    await loop.sock_sendall(reader, f"{head}content-length: {len(ASKED)}\r\n\r\n{ASKED}".encode())
    return reader


async def everything(reader: socket.socket) -> str:
    """Read until the connection ends."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        while piece := await loop.sock_recv(reader, 1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received.decode()


async def test_a_reader_that_takes_nothing_is_cut_and_comes_back_for_the_rest(
    mesh: Mesh, http: httpx2.AsyncClient
) -> None:
    reader = await asked_and_left_unread(mesh.url)

    async def cut() -> bool:
        return await figure(http, "threadmesh_facade_readers_cut_total") == 1

    await until(cut)
    received = await everything(reader)
    reader.close()

    head, _, body = received.partition("\r\n\r\n")
    run = next(line for line in head.split("\r\n") if line.startswith("x-run-id: ")).removeprefix("x-run-id: ")
    assert len(received) < 1024 * 1024 < TOKENS * 100
    assert "[DONE]" not in body
    assert not body.endswith("0\r\n\r\n")
    state = (await mesh.runs.GetRun(runs.GetRunRequest(run_id=run))).run.state
    assert state == runs.RUN_STATE_RUNNING

    events = body.split("id: ")[1:-1]
    place = events[-1].split("\n")[0]
    said = sum(event.count(TOKEN) for event in events)
    url = f"/v1/chat/completions/chatcmpl-{run.removeprefix('run_')}/stream"
    async with http.stream("GET", url, headers={"last-event-id": place}) as rest:
        async for line in rest.aiter_lines():
            said += line.count(TOKEN)
            if said >= TOKENS:
                break
    assert said == TOKENS
    await http.post(f"/v1/runs/{run}/cancel")


async def test_readers_that_take_nothing_hold_up_nobody_else(mesh: Mesh, http: httpx2.AsyncClient) -> None:
    idle = [await asked_and_left_unread(mesh.url) for _ in range(5)]
    theirs = mesh.openai.with_options(api_key=OTHER_KEY)
    answer = await theirs.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hello"}])

    assert answer.choices[0].message.content == "You said: hello"
    for each in idle:
        each.close()
