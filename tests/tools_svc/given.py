"""tools_svc as its tests need it: the whole service on a loopback port, with servers of the test's choice."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from tests.servers.given import CROOKED, WORKSHOP
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1.events_pb2 import CallFinished
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.testing.loopback import channel_for
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

if TYPE_CHECKING:
    from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceAsyncStub

EFFECTS = {"gate": "read_only", "die": "unsafe", "die_once": "read_only", "silent": "read_only", "pid": "read_only"}
WORKSHOP_SERVER = {"command": sys.executable, "args": [WORKSHOP, "stdio"], "effects": EFFECTS}
CROOKED_SERVER = {"command": sys.executable, "args": [CROOKED], "effects": {"silent": "read_only", "huge": "read_only"}}

Event = pb.ExecuteToolsResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The running service: its stub and its metrics."""

    tools: "ToolsServiceAsyncStub"
    registry: CollectorRegistry

    async def ready(self, *servers: str) -> None:
        """Wait until these servers' tools can be called."""
        await self.seen(self.tools.WatchTools(pb.WatchToolsRequest()), pb.SERVER_STATE_READY, *servers)

    async def seen(self, watching: Any, state: int, *servers: str) -> None:
        """Wait until the watched catalogue shows these servers in a state."""
        async with asyncio.timeout(60):
            async for response in watching:
                states = {each.name: each.state for each in response.catalogue.servers}
                if response.HasField("catalogue") and all(states.get(server) == state for server in servers):
                    return

    async def run(self, *calls: conversation.ToolCall, **request: Any) -> dict[str, CallFinished]:
        """Run a batch to its end and give each call's."""
        return {
            each.call_id: each.finished for each in await self.events(*calls, **request) if each.HasField("finished")
        }

    async def events(self, *calls: conversation.ToolCall, **request: Any) -> list[Event]:
        """Run a batch to its end and give everything but heartbeats."""
        async with asyncio.timeout(60):
            stream = self.tools.ExecuteTools(pb.ExecuteToolsRequest(calls=calls, **request))
            return [event async for event in stream if not event.HasField("heartbeat")]


@asynccontextmanager
async def mesh(
    directory: Path,
    *,
    wait: bool = True,
    settings: dict[str, Any] | None = None,
    capabilities: dict[str, Any] | None = None,
    **servers: dict[str, Any],
) -> AsyncIterator[Mesh]:
    """Run the service with these servers until the block ends; begins when they are ready."""
    file = directory / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers, "capabilities": capabilities or {}}))
    registry = CollectorRegistry()
    chosen = ToolsSettings(servers_file=str(file), state_dir=directory / "state", **settings or {})
    async with app(chosen, registry) as unit, channel_for(*unit.services) as channel:
        running = Mesh(tools=ToolsServiceStub(channel), registry=registry)
        if wait:
            await running.ready(*servers)
        yield running


def call(tool: str, call_id: str = "call", /, **arguments: Any) -> conversation.ToolCall:
    """Make a call."""
    return conversation.ToolCall(id=call_id, name=tool, arguments_json=json.dumps(arguments))


def text(finished: CallFinished) -> str:
    """Give what the model reads of a call's end."""
    return "".join(part.text for part in finished.parts)
