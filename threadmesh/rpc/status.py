"""Errors to gRPC statuses with `google.rpc` details, and back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError
from grpc_status import rpc_status

from threadmesh.errors import (
    Aborted,
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    LinkUntrusted,
    MeshError,
    MessageTooLarge,
    Overloaded,
    Unavailable,
    Unreachable,
    Unsupported,
)
from threadmesh.streams import Silence

log = structlog.get_logger()

DOMAIN = "threadmesh"
_NO_CONNECTION = ("connections to all backends failing", "failed to connect to all addresses", "DNS resolution failed")
"""What the core of gRPC says of a request that found no connection to go out on."""
_UNTRUSTED = ("handshake failed", "Custom verification check failed")
"""What it says there of a certificate that the caller does not trust, and then why."""
_NOT_SENT = "Internal error from Core"
"""What `grpc.aio` says where a call had ended before it could write to it."""
_UNLIMITED = 1e9
"""Seconds that nobody waits."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_BY_CODE: dict[Code, type[MeshError]] = {
    Code.ABORTED: Aborted,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    Code.INVALID_ARGUMENT: InvalidArgument,
    Code.UNAVAILABLE: Unavailable,
    Code.UNIMPLEMENTED: Unsupported,
}

Item = TypeVar("Item")


def to_status(error: MeshError) -> status_pb2.Status:
    """Give the status of an error: its message, an `ErrorInfo`, and what else is known."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.facts)
    info.metadata["retryable"] = str(error.retryable).lower()
    details: list[Message] = [info]
    if isinstance(error, InvalidArgument) and error.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        fields = [violation(field=field, description=what) for field, what in error.violations]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(timedelta(seconds=error.retry_after))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=int(error.code), message=error.message, details=map(_pack, details))


async def abort(context: grpc.aio.ServicerContext[object, object], error: MeshError) -> None:
    """End an RPC with the error's status; an overload tells gRPC's own retries when to come back, too (gRFC A6)."""
    status = rpc_status.to_status(to_status(error))
    trailing = tuple(status.trailing_metadata or ())
    if error.code is Code.RESOURCE_EXHAUSTED and error.retry_after is not None:
        trailing += (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)
    await context.abort(status.code, status.details or "", trailing)


def from_rpc_error(error: AioRpcError, *, peer: str) -> MeshError:
    """Rebuild the error that a peer reported; what the network reports is `Unavailable` and names the peer.

    `Unreachable` is a proof that the request never went out; any other `Unavailable` leaves that open.
    """
    status = rpc_status.from_call(error)
    if status is not None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return _restore(info, status, error.code())
    if _connection_lost(error):
        details = error.details() or ""
        if details.startswith(_NO_CONNECTION) and any(words in details for words in _UNTRUSTED):
            log.error("link.untrusted", peer=peer, problem=details.partition("last error: ")[2] or details)
            return LinkUntrusted(f"The certificate of the {peer} service is not trusted; the log says why.", peer=peer)
        kind = Unreachable if details.startswith(_NO_CONNECTION) else Unavailable
        return kind(f"The {peer} service cannot be reached now; try again in a moment.", peer=peer)
    return _of_the_library(Code(error.code().value[0]), error.details() or "", peer)


def _of_the_library(code: Code, details: str, peer: str) -> MeshError:
    """Give the error for a status that none of our services has set: its details are for the log only."""
    log.warning("rpc.status", peer=peer, code=code.name, details=details)
    if code is Code.RESOURCE_EXHAUSTED:
        return MessageTooLarge(peer=peer) if "larger than max" in details else Overloaded(peer=peer)
    return _BY_CODE.get(code, Internal)(peer=peer)


@asynccontextmanager
async def translated(peer: str) -> AsyncIterator[None]:
    """Turn the gRPC errors of the block into errors of ours; `peer` names the service for people."""
    try:
        yield
    except AioRpcError as error:
        raise from_rpc_error(error, peer=peer) from error


async def translated_stream(
    call: grpc.aio.UnaryStreamCall[Any, Item], *, peer: str, silence_seconds: float | None = None
) -> AsyncGenerator[Item, None]:
    """Yield a call's responses, with gRPC errors turned into ours; closing the generator cancels the call.

    A peer that sends nothing for `silence_seconds`, not even a sign of life, is taken for dead: `Unavailable`.
    """
    silent = False

    def give_up() -> None:
        nonlocal silent
        silent = True
        call.cancel()

    silence = Silence(_UNLIMITED if silence_seconds is None else silence_seconds, give_up)
    try:
        async with translated(peer):
            async for response in call:
                silence.pause()  # the reader may take its time
                yield response
                silence.heard()
    except asyncio.CancelledError:
        if not silent or _cancelled():
            raise
        raise Unavailable(f"The {peer} service went silent.", peer=peer) from None
    finally:
        silence.stop()
        call.cancel()


def _cancelled() -> bool:
    """Say whether somebody wants the running task to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _restore(info: error_details_pb2.ErrorInfo, status: status_pb2.Status, code: grpc.StatusCode) -> MeshError:
    facts = dict(info.metadata)
    retryable = facts.pop("retryable", "false") == "true"
    restored = MeshError.restore(
        reason=info.reason, code=Code(code.value[0]), message=status.message, retryable=retryable, facts=facts
    )
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            restored.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return restored


def _connection_lost(error: AioRpcError) -> bool:
    """A replica killed in the middle of a stream shows as UNAVAILABLE, or through a proxy as INTERNAL RST_STREAM.

    One that is killed while a message is on its way to it shows as INTERNAL of the library's own. Bytes that TLS finds
    changed show as UNKNOWN, and end the connection. CANCELLED is what a server with too many calls says of those it has
    not taken: whoever stops a call himself hears no status.
    """
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return True
        case grpc.StatusCode.INTERNAL:
            return "RST_STREAM" in details or details == _NOT_SENT
        case grpc.StatusCode.UNKNOWN:
            return details.startswith("Stream removed")
        case _:
            return False


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
