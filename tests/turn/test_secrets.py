"""Secrets stay where they are: no log line, no error, no metric and no stored thread holds one.

The canaries are a key of the API, a key that somebody tried, a token of a tool's server, and what people say.
"""

import io
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from prometheus_client import generate_latest

from facade.app import app as facade_app
from facade.settings import FacadeSettings
from tests.servers.given import WORKSHOP
from tests.turn.mesh import http_server, running, served, until
from threadmesh.telemetry import logs
from threadmesh.telemetry.metrics import new_registry
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
API_KEY, TRIED, TOKEN, SAID = ("canary-" + name for name in ("api-key", "tried-key", "tool-token", "of-a-person"))
CANARIES = {"a key": API_KEY, "a key that was tried": TRIED, "a token": TOKEN, "what a person said": SAID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that a mesh has told outsiders and operators."""

    logged: str
    answered: dict[str, str]
    metrics: str


def said(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{SAID} says hello"}], **more}


REQUESTS: list[tuple[str, Any]] = [
    ("/v1/chat/completions", said()),
    ("/v1/chat/completions", said(stream=True, metadata={"tools": "all", "thread_key": "t", "events": "1"})),
    ("/v1/chat/completions", said(model=5)),
    ("/v1/chat/completions", said(temperature=SAID)),
    ("/v1/chat/completions", said(tools=[{"type": "function", "function": {"name": SAID + " "}}])),
    ("/v1/chat/completions", {"messages": [{"role": SAID, "content": SAID}]}),
    ("/v1/responses", {"input": SAID, "tool_choice": SAID}),
    ("/v1/responses", {"input": [{"type": SAID}]}),
    ("/v1/embeddings", {"input": SAID}),
    ("/v1/embeddings", {"input": SAID, "encoding_format": SAID}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """Run a mesh with everything logged, and do what is right and what is wrong with it."""
    directory: Path = tmp_path_factory.mktemp("mesh")
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PLACE_OF_TOKEN", TOKEN)
        logs.configure(unit="test", level="debug", stream=stream)
        patched.setattr(logging.getLogger("httpx2"), "disabled", True)  # the client of this test
        async with AsyncExitStack() as stack:
            tools = await served(stack, tools_app, tools_settings(directory))
            behind: dict[str, Any] = {"tools_target": f"127.0.0.1:{tools}", "workshop": False}
            mesh = await stack.enter_async_context(running(directory, **behind))
            await mesh.tools_are_ready()
            await until(lambda: logged_by_a_server(stream))
            settings = FacadeSettings(**mesh.targets, api_keys=API_KEY)
            logs_of_start = json.dumps(settings.effective())
            registry = new_registry()
            url = await stack.enter_async_context(
                http_server(await stack.enter_async_context(facade_app(settings, registry)))
            )
            answered = await answers(url)
            metrics = generate_latest(registry).decode()
        yield Seen(logged=stream.getvalue() + logs_of_start, answered=answered, metrics=metrics)


async def logged_by_a_server(stream: io.StringIO) -> bool:
    return '"line": "***"' in stream.getvalue()


def tools_settings(directory: Path) -> ToolsSettings:
    """A server that gets a token, one that has no use for it, and one that cannot be reached with it."""
    token = "${env:PLACE_OF_TOKEN}"
    workshop = {"command": sys.executable, "args": [WORKSHOP, "stdio"], "env": {"API_TOKEN": token}}
    broken = {"command": sys.executable, "args": ["-c", "import os; raise SystemExit(os.environ['API_TOKEN'])"]}
    away = {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": f"Bearer {token}"}}
    servers = {"workshop": workshop, "broken": broken | {"env": {"API_TOKEN": token}}, "away": away}
    (directory / "servers.json").write_text(json.dumps({"mcpServers": servers}))
    return ToolsSettings(servers_file=str(directory / "servers.json"))


async def answers(url: str) -> dict[str, str]:
    found = {}
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        for key in (API_KEY, TRIED):
            for number, (path, body) in enumerate(REQUESTS):
                response = await http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
                # What somebody said comes back as an answer, and only as that.
                found[f"{key} {number} {response.status_code}"] = "" if response.status_code == 200 else response.text
            for path in ("/v1/models", f"/v1/models/{TRIED}", "/openapi.json", "/readyz", "/metrics"):
                response = await http.get(path, headers={"authorization": f"Bearer {key}"})
                found[f"{key} {path} {response.status_code}"] = response.text
    return found


async def test_the_requests_did_what_they_were_to_do(seen: Seen) -> None:
    statuses = {name.split()[-1] for name in seen.answered}

    assert statuses >= {"200", "400", "401", "404", "501"}
    assert '"event": "rpc"' in seen.logged
    assert '"event": "request"' in seen.logged
    assert '"line": "***"' in seen.logged


@pytest.mark.parametrize("canary", CANARIES.values(), ids=list(CANARIES))
async def test_no_log_line_holds_it(seen: Seen, canary: str) -> None:
    assert [line[:300] for line in seen.logged.splitlines() if canary in line] == []


@pytest.mark.parametrize("canary", CANARIES.values(), ids=list(CANARIES))
async def test_no_error_holds_it(seen: Seen, canary: str) -> None:
    assert {name: text for name, text in seen.answered.items() if canary in text} == {}


@pytest.mark.parametrize("canary", CANARIES.values(), ids=list(CANARIES))
async def test_no_metric_holds_it(seen: Seen, canary: str) -> None:
    assert canary not in seen.metrics


async def test_no_answer_tells_of_the_inside(seen: Seen) -> None:
    for text in seen.answered.values():
        assert not any(inside in text for inside in ("Traceback", 'File "', "site-packages", "Error(", "grpc"))
