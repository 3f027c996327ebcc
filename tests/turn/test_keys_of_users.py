"""A key of the API stays with the facade: no tool server hears of it, also one that is sent a token of its own."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers.wild_http import Answer, WildHttp, result, said, wild_http
from tests.servers.wild_sse import WildSse, event, wild_sse
from tests.turn.mesh import KEY, running, served
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

TOKEN = "token-of-the-server"
TOOL = "work"
ANSWERS: dict[str, Answer] = {TOOL: lambda number: result(said("worked"), number)}
EVENTS: dict[str, Answer] = {TOOL: lambda number: event(said("worked"), number)}


def tools_settings(directory: Path, server: dict[str, Any]) -> ToolsSettings:
    file = directory / "wild.json"
    headers = {"Authorization": "Bearer ${env:TOKEN_OF_THE_SERVER}"}
    file.write_text(json.dumps({"mcpServers": {"workshop": {**server, "headers": headers}}}))
    return ToolsSettings(servers_file=str(file), state_dir=directory)


async def serving(stack: AsyncExitStack, kind: str) -> tuple[dict[str, Any], WildHttp | WildSse]:
    """Give the server and what the servers file says of it."""
    if kind == "http":
        http = await stack.enter_async_context(wild_http(ANSWERS))
        return {"url": http.url}, http
    sse = await stack.enter_async_context(wild_sse(EVENTS))
    return {"type": "sse", "url": sse.url}, sse


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_tool_server_is_sent_its_own_token_and_never_the_users_key(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_SERVER", TOKEN)
    async with AsyncExitStack() as stack:
        written, server = await serving(stack, kind)
        tools = await served(stack, tools_app, tools_settings(tmp_path, written))
        mesh = await stack.enter_async_context(running(tmp_path, tools_target=f"127.0.0.1:{tools}"))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=mesh.url, timeout=30, trust_env=False))
        body = {"messages": [{"role": "user", "content": "progress"}], "metadata": {"tools": "all"}}
        answer = await http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})

    assert answer.status_code == 200
    assert any(b"tools/call" in request for request in server.requests)
    assert all(f"Bearer {TOKEN}".encode() in request for request in server.requests)
    assert not any(KEY.encode() in request for request in server.requests)
