"""A transport whose server's answers are mended, between their framing and the SDK, which takes only what it knows."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCResponse

from tools_svc.adapters.mcp_errors import DEVIATES
from tools_svc.adapters.mcp_quirks import mended, missing


def mending(transport: Transport, quirks: Collection[str]) -> Transport:
    """Wrap a transport to a server with these quirks.

    An answer that another quirk would mend becomes an error that names it: the SDK would refuse the answer, too.
    """
    return _mending(transport, quirks)


@asynccontextmanager
async def _mending(transport: Transport, quirks: Collection[str]) -> AsyncGenerator[Any]:
    async with transport as (incoming, outgoing):
        yield _MendedStream(incoming, quirks), outgoing


class _MendedStream:
    """The SDK's `ReadStream` over another one."""

    def __init__(self, inner: Any, quirks: Collection[str]) -> None:
        self._inner = inner
        self._quirks = quirks

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        return self._understood(await self._inner.receive())

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return self._understood(await self._inner.__anext__())

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        closed: bool | None = await self._inner.__aexit__(kind, error, traceback)
        return closed

    def _understood(self, item: SessionMessage | Exception) -> SessionMessage | Exception:
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
            return replace(item, message=_answer(item.message, self._quirks))
        return item


def _answer(response: JSONRPCResponse, quirks: Collection[str]) -> JSONRPCMessage:
    result = mended(response.result, quirks)
    if lacking := missing(result, quirks):
        return JSONRPCError(jsonrpc="2.0", id=response.id, error=ErrorData(code=DEVIATES, message=_advice(lacking)))
    return response if result is response.result else response.model_copy(update={"result": result})


def _advice(quirks: tuple[str, ...]) -> str:
    named = ", ".join(f'"{name}"' for name in quirks)
    return f"The tool's server breaks the protocol; add {named} to its quirks in the servers file."
