"""A transport whose server's messages are made what the SDK knows, between their framing and the SDK."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCResponse

from tools_svc.adapters.mcp_errors import DEVIATES, RESULT_TOO_LARGE
from tools_svc.adapters.mcp_notifications import Announcements
from tools_svc.adapters.mcp_quirks import mended, missing
from tools_svc.adapters.mcp_sane import has_too_many_parts, with_nameless
from tools_svc.domain.output import MOST_PARTS


def mending(transport: Transport, quirks: Collection[str], announcements: Announcements | None) -> Transport:
    """Wrap a transport to a server with these quirks; the SDK never sees its `announcements`.

    An answer that another quirk would mend becomes an error that names it: the SDK would refuse the answer, too. One of
    too many parts becomes an error before anybody looks at them. A tool that cannot be read loses its name, so that the
    SDK does not refuse the whole list for it.
    """
    return _mending(transport, quirks, announcements)


@asynccontextmanager
async def _mending(
    transport: Transport, quirks: Collection[str], announcements: Announcements | None
) -> AsyncGenerator[Any]:
    async with transport as (incoming, outgoing):
        yield _MendedStream(incoming, quirks, announcements), outgoing


class _MendedStream:
    """The SDK's `ReadStream` over another one."""

    def __init__(self, inner: Any, quirks: Collection[str], announcements: Announcements | None) -> None:
        self._inner = inner
        self._quirks = quirks
        self._announcements = announcements

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        return await self._next(self._inner.receive)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await self._next(self._inner.__anext__)

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

    async def _next(self, read: Callable[[], Awaitable[SessionMessage | Exception]]) -> SessionMessage | Exception:
        """Give the next message that is for the SDK, as it can be understood."""
        while True:
            item = await read()
            if not isinstance(item, SessionMessage):
                return item
            if isinstance(item.message, JSONRPCResponse):
                return replace(item, message=_answer(item.message, self._quirks))
            if self._announcements is None or not self._announcements.take(item.message):
                return item


def _answer(response: JSONRPCResponse, quirks: Collection[str]) -> JSONRPCMessage:
    if has_too_many_parts(response.result):
        error = ErrorData(code=RESULT_TOO_LARGE, message=f"more than {MOST_PARTS} parts")
        return JSONRPCError(jsonrpc="2.0", id=response.id, error=error)
    result = with_nameless(_with_content(mended(response.result, quirks)))
    if lacking := missing(result, quirks):
        return JSONRPCError(jsonrpc="2.0", id=response.id, error=ErrorData(code=DEVIATES, message=_advice(lacking)))
    return response if result is response.result else response.model_copy(update={"result": result})


def _with_content(result: dict[str, Any]) -> dict[str, Any]:
    """Give a call that was made as a task the content that the SDK demands of every call's answer."""
    return {"content": [], **result} if isinstance(result.get("task"), dict) else result


def _advice(quirks: tuple[str, ...]) -> str:
    named = ", ".join(f'"{name}"' for name in quirks)
    return f"The tool's server breaks the protocol; add {named} to its quirks in the servers file."
