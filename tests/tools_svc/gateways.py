"""tools_svc with its gateway, and clients of MCP that come to it in every way there is."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client, IncomingMessage
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ResourceUpdatedNotification, ToolListChangedNotification
from prometheus_client import CollectorRegistry

from tests.servers.given import WORKSHOP
from threadmesh.cli.ports import free_port
from threadmesh.rpc.server import serve
from threadmesh.telemetry.metrics import new_registry
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

SHOP = {
    "command": sys.executable,
    "args": [WORKSHOP, "stdio"],
    "effects": {"pid": "read_only", "echo": "idempotent"},
    "tools": {
        "show": {"approval": "always"},
        "environment": {"approval": "after_untrusted"},
        "pid": {"untrusted": True},
    },
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
KINDS = ("http", "http-modern", "stdio")
"""How a client comes: by which transport, and with which of MCP's two ways to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The running service: where its gateway and its gRPC are."""

    url: str
    target: str


@asynccontextmanager
async def served(directory: Path, *, token: str = "", **servers: dict[str, Any]) -> AsyncIterator[Served]:
    """Run the service with these servers until the block ends; begins when they are ready."""
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    port = free_port("127.0.0.1")
    settings = ToolsSettings(
        servers_file=str(file),
        state_dir=directory / "state",
        startup_wait_seconds=60,
        gateway_port=port,
        gateway_token=token,
    )
    async with (
        app(settings, CollectorRegistry()) as unit,
        serve(unit.services, address="127.0.0.1:0", registry=new_registry(), ping=unit.ping) as server,
        asyncio.timeout(120),
    ):
        while not await _ready(unit.ping):
            await asyncio.sleep(0.02)
        yield Served(url=f"http://127.0.0.1:{port}/mcp", target=f"127.0.0.1:{server.port}")


async def _ready(ping: Any) -> bool:
    try:
        await ping()
    except Exception:  # noqa: BLE001  # whatever keeps it
        return False
    return True


@dataclass(slots=True, kw_only=True)
class Told:
    """What a client was told unasked."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    updated: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def hear(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.changed.set()
        if isinstance(message, ResourceUpdatedNotification):
            self.updated.put_nowait(str(message.params.uri))

    async def soon(self) -> bool:
        """Whether it is told within moments."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), 0.3)
        return self.changed.is_set()


@asynccontextmanager
async def connected(kind: str, service: Served, *, token: str = "", told: Told | None = None) -> AsyncIterator[Client]:
    """Connect a client until the block ends."""
    mode = "auto" if kind.endswith("modern") else "legacy"
    async with AsyncExitStack() as stack:
        if kind.startswith("stdio"):
            command = ["-m", "threadmesh.cli", "mcp", "--target", service.target]
            process = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
            transport: Any = stdio_client(process)
        else:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False))
            transport = streamable_http_client(service.url, http_client=http)
        yield await stack.enter_async_context(Client(transport, mode=mode, message_handler=(told or Told()).hear))
