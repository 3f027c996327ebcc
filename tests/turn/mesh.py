"""The whole mesh in one process: real units over loopback, a scripted backend, a real MCP server, a real HTTP port."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI

from context_svc.app import app as context_app
from context_svc.settings import ContextSettings
from facade.app import app as facade_app
from facade.edge.server import configured
from facade.settings import FacadeSettings
from inference_svc.app import app as inference_app
from inference_svc.settings import InferenceSettings
from tests.servers.given import WORKSHOP
from tests.turn.grammar import CheckedStreams
from threadmesh.api.context.v1 import threads_service_pb2 as pb
from threadmesh.api.context.v1.runs_service_pb2_grpc import RunsServiceStub
from threadmesh.api.context.v1.threads_service_pb2_grpc import ThreadsServiceStub
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.keys.file import add_key
from threadmesh.keys.key import Key, digest, id_of, new_token
from threadmesh.rpc.channel import MeshChannel, connect
from threadmesh.rpc.server import serve
from threadmesh.rpc.unit import Unit
from threadmesh.telemetry.metrics import new_registry
from tools_svc.app import app as tools_app
from tools_svc.settings import ToolsSettings

SCRIPT = Path(__file__).with_name("script.json")
KEY = "a-key-of-the-tests"
OTHER_KEY = new_token()
"""The key of another tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A running mesh: its HTTP address, an OpenAI client that never retries, and stubs of context_svc."""

    url: str
    openai: AsyncOpenAI
    context: MeshChannel
    tools: MeshChannel
    targets: dict[str, Any]

    async def tools_are_ready(self) -> None:
        """Wait until the tool server can be called."""
        async with asyncio.timeout(30):
            async for state in ToolsServiceStub(self.tools).WatchTools(tools.WatchToolsRequest(), wait_for_ready=True):
                if any(server.state == tools.SERVER_STATE_READY for server in state.catalogue.servers):
                    return

    async def window(self, thread_id: str) -> list[str]:
        """Give the texts that a model would read of a thread."""
        request = pb.AssembleWindowRequest(thread_id=thread_id)
        response = await self.threads.AssembleWindow(request)
        return ["".join(part.text for part in message.parts) for message in response.messages]

    @property
    def runs(self) -> Any:
        return RunsServiceStub(self.context)

    @property
    def threads(self) -> Any:
        return ThreadsServiceStub(self.context)


def tools_settings(directory: Path, tools: dict[str, Any] | None = None, **effects: str) -> ToolsSettings:
    """Give the settings of a tools service with the workshop, with effects and policies of its tools."""
    workshop = {"command": sys.executable, "args": [WORKSHOP, "stdio"], "effects": effects, "tools": tools or {}}
    return _settings_with(directory, workshop=workshop)


def settings_without_tools(directory: Path) -> ToolsSettings:
    """Give the settings of a tools service that has no servers."""
    return _settings_with(directory)


def _settings_with(directory: Path, **servers: Any) -> ToolsSettings:
    directory.mkdir(exist_ok=True)
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return ToolsSettings(servers_file=str(file))


@asynccontextmanager
async def running(directory: Path, *, workshop: bool = True, **changed: Any) -> AsyncIterator[Mesh]:
    """Run a mesh whose state is in `directory`; `changed` are settings of the facade, also where other units are.

    It begins when there are tools; without a `workshop` there are none, unless the tools service is another one.
    """
    tools = tools_settings if workshop else settings_without_tools
    units: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
        "inference": (inference_app, lambda: InferenceSettings(model="none", script=str(SCRIPT))),
        "tools": (tools_app, lambda: tools(directory)),
        "context": (context_app, lambda: ContextSettings(store=f"sqlite:{directory / 'context.db'}")),
    }
    async with AsyncExitStack() as stack:
        targets: dict[str, Any] = {"keys_file": str(_keys_file(directory)), **changed}
        for name, (app, settings) in units.items():
            if f"{name}_target" not in changed:
                targets[f"{name}_target"] = f"127.0.0.1:{await served(stack, app, settings())}"
        context = await stack.enter_async_context(connect(targets["context_target"]))
        tool_channel = await stack.enter_async_context(connect(targets["tools_target"]))
        url = await facade(stack, targets)
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=30)
        mesh = Mesh(
            url=url,
            openai=await stack.enter_async_context(client),
            context=context,
            tools=tool_channel,
            targets=targets,
        )
        if workshop:
            await mesh.tools_are_ready()
        yield mesh


def _keys_file(directory: Path) -> Path:
    file = directory / "other-keys.json"
    key = Key(id=id_of(OTHER_KEY), sha256=digest(OTHER_KEY), tenant="other", created=datetime.now(UTC))
    add_key(file, key)
    return file


async def facade(stack: AsyncExitStack, settings: dict[str, Any]) -> str:
    """Serve a facade until the stack ends, which fails if a stream of it disobeyed the grammar; gives its address."""
    built = FacadeSettings(**settings, api_keys=KEY)
    app = await stack.enter_async_context(facade_app(built, new_registry()))
    broken: list[str] = []
    app.add_middleware(CheckedStreams, broken=broken)
    stack.callback(_require_none, broken)
    return await stack.enter_async_context(http_server(app, stalled_seconds=built.stalled_seconds))


def _require_none(broken: list[str]) -> None:
    assert not broken, broken


async def served(stack: AsyncExitStack, app: Callable[..., Any], settings: Any, port: int = 0) -> int:
    """Build a unit and serve it until the stack ends; gives the port, a free one unless it is chosen."""
    registry = new_registry()
    unit: Unit = await stack.enter_async_context(app(settings, registry))
    server = await stack.enter_async_context(
        serve(unit.services, address=f"127.0.0.1:{port}", registry=registry, ping=unit.ping)
    )
    return server.port


@asynccontextmanager
async def http_server(app: FastAPI, *, stalled_seconds: float = 30.0) -> AsyncIterator[str]:
    """Serve an application over HTTP on a free port until the block ends; gives its address."""
    config = configured(
        app,
        listen="127.0.0.1",
        port=0,
        stalled_seconds=stalled_seconds,
        arrival_seconds=10.0,
        on_cut=getattr(app.state, "on_cut", int),
    )
    server = uvicorn.Server(config)
    # Signals belong to the test runner.
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    await until(_awaitable(lambda: server.started))
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    """Return as soon as something holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.01)


def _awaitable(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return holds()

    return ask
