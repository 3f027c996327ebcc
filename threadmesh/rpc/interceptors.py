"""What happens around every RPC of every server: ids, deadline, validation, errors, metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from protovalidate import CompilationError, Validator

from threadmesh.errors import Aborted, Cancelled, DeadlineExceeded, Internal, InvalidArgument, MeshError
from threadmesh.links.guard import Guard
from threadmesh.rpc import deadline
from threadmesh.rpc.guarded import guarded
from threadmesh.rpc.ids import ids_in
from threadmesh.rpc.status import abort
from threadmesh.telemetry.logs import bind_ids
from threadmesh.telemetry.metrics import ServerMetrics

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler, whose stubs know only synchronous methods

log = structlog.get_logger()
_VIOLATIONS = 16
"""Broken rules that one answer tells of; statuses travel in headers, which are small."""
UNARY_SECONDS = 120.0
"""Limit of an RPC that gives one response, for callers that set none."""


_BEHAVIOURS = {
    "unary": "unary_unary",
    "client_stream": "stream_unary",
    "server_stream": "unary_stream",
    "bidi_stream": "stream_stream",
}
"""The field of a handler that holds its method, by the kind of RPC as metrics name it."""


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of our own services; of health, reflection and channelz only the guard is ours."""

    def __init__(self, metrics: ServerMetrics, guard: Guard | None = None) -> None:
        """Without a `guard`, everybody may call everything."""
        self._metrics = metrics
        self._guard = guard
        self._validator = Validator()

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Give the method's handler, wrapped."""
        handler: Handler = await continuation(handler_call_details)
        if handler is None:
            return None
        _, service, method = handler_call_details.method.split("/")
        if service.startswith("threadmesh."):
            return self._wrap(handler, service, method)
        return guarded(handler, _BEHAVIOURS[_kind(handler)], self._guard, service, method) if self._guard else handler

    def _wrap(self, handler: Handler, service: str, method: str) -> Handler:
        kind = _kind(handler)
        behaviour: Any = getattr(handler, _BEHAVIOURS[kind])

        async def one(request: Any, context: Context) -> Any:
            async with self._rpc(context, kind, service, method), asyncio.timeout(deadline.remaining()):
                return await behaviour(self._checked(request), context)

        async def many(request: Any, context: Context) -> AsyncIterator[Any]:
            async with (
                self._rpc(context, kind, service, method),
                aclosing(behaviour(self._checked(request), context)) as responses,
            ):
                async for response in responses:
                    yield response

        make: Any = getattr(grpc, f"{_BEHAVIOURS[kind]}_rpc_method_handler")
        wrapped: Handler = make(
            many if handler.response_streaming else one, handler.request_deserializer, handler.response_serializer
        )
        return wrapped

    @asynccontextmanager
    async def _rpc(self, context: Context, kind: str, service: str, method: str) -> AsyncIterator[None]:
        ended = _Ended(f"{service}/{method}")
        self._metrics.started(kind, service, method)
        _enter_request(context, streams=kind != "unary")
        try:
            if self._guard:
                self._guard.admit(context, service, method)
            yield
        except Exception as error:  # noqa: BLE001  # the outermost place: every error becomes a status
            ended.error = as_mesh_error(error, method)
            await abort(context, ended.error)
        except asyncio.CancelledError:
            ended.error = Cancelled()
            if context.cancelled() or context.done():
                raise
            # A cancellation that the RPC's own end did not cause would leave the caller waiting for ever (grpc#29248).
            await abort(context, Aborted())
        except GeneratorExit:
            ended.error = Cancelled()
            raise
        finally:
            self._metrics.handled(kind, service, method, code=ended.code, seconds=ended.seconds)
            ended.log()

    def _checked(self, request: Any) -> Any:
        """Refuse a request that breaks the rules in its proto; of a stream, each message as it comes."""
        if not isinstance(request, Message):
            return self._each_checked(request)
        try:
            violations = self._validator.collect_violations(request)
        except CompilationError:
            raise
        except Exception as error:  # a rule that cannot be evaluated on this request is broken by it
            raise InvalidArgument("The request breaks a rule of its message.") from error
        if violations:
            raise invalid([(field_path(each.proto.field), each.proto.message) for each in violations[:_VIOLATIONS]])
        return request

    async def _each_checked(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            yield self._checked(request)


def invalid(violations: Sequence[tuple[str, str]]) -> InvalidArgument:
    """Give the error that tells of broken rules; its message is about the first."""
    told = [(field, f"{field or 'The request'} {what}.") for field, what in violations]
    error = InvalidArgument(told[0][1], field=told[0][0])
    error.violations = tuple(told)
    return error


def as_mesh_error(error: Exception, method: str) -> MeshError:
    """Give the error as the caller may see it; a defect is logged with its traceback and told without details."""
    if isinstance(error, MeshError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded()
    log.error("rpc.defect", method=method, exc_info=error)
    return Internal()


def field_path(path: Any) -> str:
    """Write a protovalidate field path as `messages[3].content`."""
    written = ""
    for element in path.elements:
        written += f".{element.field_name}" if element.field_name else ""
        subscript = element.subscript
        if subscript is not None:
            written += f"[{subscript.value}]"
    return written.lstrip(".")


class _Ended:
    """How an RPC ended and how long it took."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._began = time.monotonic()
        self.error: MeshError | None = None

    @property
    def code(self) -> str:
        return self.error.code.name if self.error else "OK"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def log(self) -> None:
        told = {"reason": self.error.reason, "message": self.error.message, **_facts(self.error)} if self.error else {}
        log.info("rpc", method=self._method, code=self.code, seconds=round(self.seconds, 4), **told)


def _enter_request(context: Context, *, streams: bool) -> None:
    """Bind the request's ids and its time limit to the running task.

    Nothing is undone afterwards: each RPC has a task of its own, and an abandoned stream is closed from another one.
    """
    bind_ids(**ids_in(context.invocation_metadata() or ()))
    seconds: float | None = context.time_remaining()
    deadline.limit(UNARY_SECONDS if seconds is None and not streams else seconds)


def _facts(error: MeshError) -> dict[str, str]:
    return {f"fact_{name}": value for name, value in error.facts.items()}


def _kind(handler: Handler) -> str:
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
