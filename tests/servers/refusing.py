"""A gRPC server that can be reached, answers everything with UNAVAILABLE, and counts what it was asked."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass(slots=True)
class Refusing(grpc.GenericRpcHandler):
    """The server's port, and how often each of its methods was asked."""

    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        self.asked[handler_call_details.method.rpartition("/")[2]] += 1
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


@asynccontextmanager
async def refusing_server() -> AsyncIterator[Refusing]:
    """Serve until the block ends."""
    found = Refusing()
    server = grpc.aio.server(handlers=[found])
    found.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)
