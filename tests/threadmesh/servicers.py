"""A servicer whose behaviour the tests of the gRPC kit choose by the tool's name."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as rpc
from threadmesh.errors import InvalidArgument, Overloaded, ToolNotFound
from threadmesh.rpc import deadline
from threadmesh.rpc.server import Service
from threadmesh.telemetry.logs import current_ids


class Behaving(rpc.ToolsServiceServicer):
    """ApproveDefinition does what the request's name says; WatchTools counts until it is closed."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.stream_closed = asyncio.Event()
        self.ids: dict[str, str] = {}
        self.remaining: float | None = None

    async def ApproveDefinition(self, request: Any, context: Any) -> pb.ApproveDefinitionResponse:
        self.ids = current_ids()
        self.remaining = deadline.remaining()
        match request.name:
            case "missing":
                raise ToolNotFound(tool=request.name)
            case "wrong":
                raise InvalidArgument("It is wrong.", field="name")
            case "busy":
                raise Overloaded().after(2.5)
            case "defect":
                raise ValueError("secret /etc/passwd path")
            case "cancelled":
                raise asyncio.CancelledError
            case "hangs":
                self.called.set()
                await asyncio.Event().wait()
        return pb.ApproveDefinitionResponse()

    async def WatchTools(self, request: Any, context: Any) -> AsyncIterator[pb.WatchToolsResponse]:
        try:
            for sequence in range(1, 4):
                yield pb.WatchToolsResponse(sequence=sequence)
            if request.after_sequence == 1:
                raise ToolNotFound(tool="gone")
            await asyncio.Event().wait()
        finally:
            self.stream_closed.set()


def service(servicer: Behaving) -> Service:
    """Wrap the servicer for a server."""
    name = pb.DESCRIPTOR.services_by_name["ToolsService"].full_name
    return Service(servicer=servicer, add=rpc.add_ToolsServiceServicer_to_server, name=name)
