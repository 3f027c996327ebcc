"""The guard before services that are not ours: health, reflection and channelz."""

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from threadmesh.errors import MeshError
from threadmesh.links.guard import Context, Guard
from threadmesh.rpc.status import abort

Handler = Any  # grpc.RpcMethodHandler, whose stubs know only synchronous methods


def guarded(handler: Handler, field: str, guard: Guard, service: str, method: str) -> Handler:
    """Give the handler with the guard before it; `field` names its one method, such as `unary_stream`.

    These services answer by coroutines, which write their streams themselves, or by asynchronous generators.
    """
    behaviour: Any = getattr(handler, field)

    async def admit(context: Context) -> None:
        try:
            guard.admit(context, service, method)
        except MeshError as error:
            await abort(context, error)

    async def one(request: Any, context: Context) -> Any:
        await admit(context)
        return await behaviour(request, context)

    async def many(request: Any, context: Context) -> AsyncIterator[Any]:
        await admit(context)
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    make: Any = getattr(grpc, f"{field}_rpc_method_handler")
    chosen = many if inspect.isasyncgenfunction(behaviour) else one
    wrapped: Handler = make(chosen, handler.request_deserializer, handler.response_serializer)
    return wrapped
