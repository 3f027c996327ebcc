"""Starts children as tools_svc does, beside RPCs under way; prints how many of them ended otherwise than well.

`python -m tests.tools_svc.adapters.starting_children <number>`
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any

import threadmesh  # noqa: F401  # before gRPC, as in every process of the mesh

import grpc  # isort: skip

from threadmesh.loop import run_process
from tools_svc.adapters import child_process
from tools_svc.adapters.server_config import StdioServer

_CALLERS = 4


async def _answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def _main(number: int) -> None:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Call": grpc.unary_unary_rpc_method_handler(_answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        callers = [asyncio.create_task(_calling(channel.unary_unary("/test.Service/Call"))) for _ in range(_CALLERS)]
        statuses = [await _status() for _ in range(number)]
        for each in callers:
            each.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    sys.stdout.write(str(sum(status != 0 for status in statuses)))


async def _calling(call: Any) -> None:
    while True:
        await call(b"hello")


async def _status() -> int:
    process = await child_process.start(StdioServer(command="true"))
    return await process.wait()


if __name__ == "__main__":
    run_process(_main(int(sys.argv[1])))
