"""Published servers, called as they are: what they answer arrives, what they want of us is refused, nothing hangs."""

import asyncio
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.recipes import recipe
from tests.e2e.mesh import free_ports
from tests.tools_svc.given import Mesh, call, mesh, text
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb

HOME = Path(os.environ.get("REAL_SERVERS", "."))
NODE = HOME / "node_modules" / "@modelcontextprotocol"
EVERYTHING = str(NODE / "server-everything" / "dist" / "index.js")
PAGE = "<html><head><title>Tea</title></head><body><article><h1>Tea</h1><p>Boil the water.</p></article></body></html>"


def installed(name: str, program: str, *arguments: str, **changed: Any) -> dict[str, Any]:
    """Give the server of a ready file, with the program where `make try-servers` has installed it."""
    (server,) = recipe(name)["mcpServers"].values()
    (found,) = [path for path in (NODE.parent / ".bin" / program, HOME / "venv" / "bin" / program) if path.exists()]
    node = {"command": shutil.which("node"), "args": [str(found.resolve()), *arguments]}
    started = node if found.resolve().suffix == ".js" else {"command": str(found.absolute()), "args": list(arguments)}
    return {**server, **started, **changed}


async def one(running: Mesh, tool: str, **arguments: Any) -> Any:
    """Call a tool and give its end."""
    return (await running.run(call(tool, "call", **arguments)))["call"]


@asynccontextmanager
async def everything(directory: Path, **server: Any) -> AsyncIterator[Mesh]:
    server = server or {"command": shutil.which("node"), "args": [EVERYTHING, "stdio"]}
    async with mesh(directory, everything=server) as running:
        yield running


@contextmanager
def served_everything(kind: str) -> Iterator[str]:
    """Run the server over HTTP; gives its address."""
    (port,) = free_ports(1)
    process = subprocess.Popen(["node", EVERYTHING, kind], env={**os.environ, "PORT": str(port)})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def test_every_kind_of_content_arrives(tmp_path: Path) -> None:
    async with everything(tmp_path) as running:
        structured = await one(running, "everything__get-structured-content", location="New York")
        image = await one(running, "everything__get-tiny-image")
        links = await one(running, "everything__get-resource-links", count=2)
        reference = await one(running, "everything__get-resource-reference", resourceType="Text", resourceId=1)
        annotated = await one(running, "everything__get-annotated-message", messageType="error", includeImage=True)

    assert set(json.loads(structured.structured_json)) == {"temperature", "conditions", "humidity"}
    assert [part.WhichOneof("content") for part in image.parts] == ["text", "media", "text"]
    assert image.parts[1].media.mime_type == "image/png"
    assert "demo://resource" in text(links)
    assert "plaintext resource" in text(reference)
    assert [part.WhichOneof("content") for part in annotated.parts] == ["text", "media"]


async def test_a_long_operation_tells_its_progress_and_can_be_stopped(tmp_path: Path) -> None:
    async with everything(tmp_path) as running:
        told = await running.events(call("everything__trigger-long-running-operation", duration=1, steps=4))
        stream = running.tools.ExecuteTools(
            pb.ExecuteToolsRequest(
                run_id="r", calls=[call("everything__trigger-long-running-operation", "long", duration=600, steps=600)]
            )
        )
        outcome = None
        async with asyncio.timeout(30):
            async for event in stream:
                if event.HasField("progress"):
                    await running.tools.CancelCall(pb.CancelCallRequest(run_id="r", call_id="long"))
                outcome = event.finished.outcome if event.HasField("finished") else outcome

    steps = [event.progress.progress for event in told if event.HasField("progress")]
    assert steps == sorted(steps)
    assert steps[-1] == 4
    assert outcome == events.CALL_OUTCOME_UNKNOWN


async def test_a_tool_that_runs_as_a_task_only_is_waited_for_and_nothing_is_asked(tmp_path: Path) -> None:
    async with everything(tmp_path) as running, asyncio.timeout(60):
        researched = await one(running, "everything__simulate-research-query", topic="tea", ambiguous=True)
        after = await one(running, "everything__echo", message="still there")

    assert researched.outcome == events.CALL_OUTCOME_SUCCEEDED
    assert text(researched).startswith("# Research Report: tea")
    assert text(after) == "Echo: still there"


@pytest.mark.parametrize(("kind", "path"), [("streamableHttp", "/mcp"), ("sse", "/sse")])
async def test_it_is_reached_over_http_as_well(tmp_path: Path, kind: str, path: str) -> None:
    with served_everything(kind) as url:
        server = {"url": url + path, **({"type": "sse"} if kind == "sse" else {})}
        async with everything(tmp_path, **server) as running:
            told = await running.events(call("everything__trigger-long-running-operation", duration=1, steps=2))
            answer = await one(running, "everything__get-sum", a=1, b=2)

    assert [event.progress.progress for event in told if event.HasField("progress")][-1] == 2
    assert text(answer) == "The sum of 1 and 2 is 3."


async def test_files_are_written_and_read_within_their_directory_only(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    files = installed("filesystem", "mcp-server-filesystem", str(box))
    async with mesh(tmp_path, files=files) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        await one(running, "files__write_file", path=str(box / "a.txt"), content="hello")
        read = await one(running, "files__read_text_file", path=str(box / "a.txt"))
        outside = await one(running, "files__read_text_file", path="/etc/passwd")

    assert (box / "a.txt").read_text() == "hello"
    assert text(read) == "hello"
    assert outside.outcome == events.CALL_OUTCOME_FAILED
    assert "outside allowed directories" in text(outside)
    assert {tool.server_tool for tool in listed.tools} == set(files["effects"])


async def test_what_is_to_be_remembered_is(tmp_path: Path) -> None:
    memory = installed("memory", "mcp-server-memory", env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")})
    entity = {"name": "tea", "entityType": "drink", "observations": ["is hot"]}
    async with mesh(tmp_path, memory=memory) as running:
        listed = await running.tools.ListTools(pb.ListToolsRequest())
        for _ in range(2):  # to make one twice changes nothing
            await one(running, "memory__create_entities", entities=[entity])
        graph = json.loads((await one(running, "memory__read_graph")).structured_json)

    assert graph["entities"] == [entity]
    assert {tool.server_tool for tool in listed.tools} == set(memory["effects"])


class _Site(http.server.BaseHTTPRequestHandler):
    """A page that may be read, and one that robots may not."""

    def do_GET(self) -> None:  # the library's name
        robots = self.path == "/robots.txt"
        body = b"User-agent: *\nDisallow: /private" if robots else PAGE.encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain" if robots else "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_a_page_is_fetched_as_text_unless_robots_may_not(tmp_path: Path, site: str) -> None:
    careful = installed("fetch", "mcp-server-fetch")
    trusting = installed("fetch", "mcp-server-fetch", "--allow-private-ips")
    async with mesh(tmp_path, fetch=trusting, careful=careful) as running:
        page = await one(running, "fetch__fetch", url=f"{site}/tea")
        forbidden = await one(running, "fetch__fetch", url=f"{site}/private")
        refused = await one(running, "careful__fetch", url=f"{site}/tea")

    assert refused.outcome == events.CALL_OUTCOME_FAILED
    assert "not a public address" in text(refused)
    assert "Boil the water." in text(page)
    assert forbidden.outcome == events.CALL_OUTCOME_FAILED
    assert "robots.txt" in text(forbidden)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path / "repository")], check=True)
    return tmp_path / "repository"


async def test_time_and_git_answer(tmp_path: Path, repository: Path) -> None:
    servers = json.loads((Path(__file__).parents[2] / "tools_svc" / "default_servers.json").read_text())["mcpServers"]
    async with mesh(tmp_path, **servers) as running:
        now = await one(running, "time__get_current_time", timezone="Europe/Berlin")
        status = await one(running, "git__git_status", repo_path=str(repository))

    assert json.loads(now.structured_json)["timezone"] == "Europe/Berlin"
    assert "No commits yet" in text(status)
