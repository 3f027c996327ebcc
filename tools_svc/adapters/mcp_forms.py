"""A transport over which only forms are declared: the SDK declares addresses to visit beside them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

_META = "io.modelcontextprotocol/clientCapabilities"


def forms_only(transport: Transport) -> Transport:
    """Wrap a transport whose client answers no question of elicitation but forms."""
    return _forms_only(transport)


@asynccontextmanager
async def _forms_only(transport: Transport) -> AsyncGenerator[Any]:
    async with transport as (incoming, outgoing):
        yield incoming, _Outgoing(outgoing)


class _Outgoing:
    """The SDK's `WriteStream` over another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, item: SessionMessage) -> None:
        if isinstance(item.message, JSONRPCRequest):
            item = replace(item, message=_without_addresses(item.message))
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

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


def _without_addresses(request: JSONRPCRequest) -> JSONRPCRequest:
    """Give the request with what it declares in `initialize` or, since MCP 2026-07-28, in every request's `_meta`."""
    params = request.params or {}
    match params:
        case {"capabilities": {"elicitation": {"url": _}} as declared}:
            return request.model_copy(update={"params": {**params, "capabilities": _forms(declared)}})
        case {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": _}} as declared} as meta}:
            told = {**meta, _META: _forms(declared)}
            return request.model_copy(update={"params": {**params, "_meta": told}})
        case _:
            return request


def _forms(declared: dict[str, Any]) -> dict[str, Any]:
    return {**declared, "elicitation": {"form": declared["elicitation"].get("form", {})}}
