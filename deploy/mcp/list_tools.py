"""Prints the tools that a servers file's servers offer, with their effects: `list_tools.py <file>`.

Run from the root of the repository with the servers installed and their secrets set; any text will do as a token.
"""

import asyncio
import sys
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.testing.loopback import channel_for
from tools_svc.app import app
from tools_svc.settings import ToolsSettings

if TYPE_CHECKING:
    from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceAsyncStub

_SECONDS = 60


async def _ready(tools: "ToolsServiceAsyncStub") -> None:
    async for response in tools.WatchTools(pb.WatchToolsRequest()):
        servers = response.catalogue.servers
        if servers and all(server.state == pb.SERVER_STATE_READY for server in servers):
            return


async def _list(file: str) -> None:
    settings = ToolsSettings(servers_file=file)
    async with app(settings, CollectorRegistry()) as unit, channel_for(*unit.services) as channel:
        tools: ToolsServiceAsyncStub = ToolsServiceStub(channel)
        async with asyncio.timeout(_SECONDS):
            await _ready(tools)
            listed = await tools.ListTools(pb.ListToolsRequest())
    for tool in listed.tools:
        sys.stdout.write(f"{pb.Effect.Name(tool.effect).removeprefix('EFFECT_').lower():<10} {tool.definition.name}\n")


if __name__ == "__main__":
    asyncio.run(_list(sys.argv[1]))
