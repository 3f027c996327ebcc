"""The resources and prompts of a connected MCP server."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import mcp_types as types
import structlog
from anyio.abc import TaskGroup
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from threadmesh.errors import (
    MeshError,
    ResourceNotFound,
    ToolConnectionLost,
    ToolFailed,
    ToolServerUnavailable,
)
from tools_svc.adapters import mcp_library_values as values
from tools_svc.adapters.mcp_errors import SDK_ERRORS, translated
from tools_svc.adapters.mcp_raw import MOST_NAMED, Raw, listed, readable
from tools_svc.domain.library import FilledPrompt, Library, ResourceContent

log = structlog.get_logger()

_MOST_ENTRIES = 2_000
_MOST_CHARACTERS = 256 * 1024
"""What one list of a server may hold: the lists of several servers have to fit into a message."""

_NOT_FOUND = {"-32002", "-32602"}
"""How servers say that there is no such resource: until MCP 2025-11-25, and since."""

_REFRESH_SECONDS = 0.2
_LONGEST_SECONDS = 24 * 3600.0  # whoever asks has a limit of his own, and a shorter one


Value = TypeVar("Value")


class McpLibrary:
    """What a client after its handshake can read. Its requests run in `tasks`, as the connection's calls do."""

    def __init__(self, client: Client, tasks: TaskGroup, *, server: str, on_library: Callable[[Library], None]) -> None:
        self.stale = asyncio.Event()
        """Set by whoever learns that one of the lists has changed."""
        self.stale.set()
        self._client = client
        self._tasks = tasks
        self._server = server
        self._on_library = on_library
        self._last = Library()

    async def keep_fresh(self) -> None:
        """List everything, and anew whenever the server says that a list has changed, until cancelled."""
        while True:
            await self.stale.wait()
            self.stale.clear()
            self._on_library(await self._listed())
            await anyio.sleep(_REFRESH_SECONDS)

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource, as `ToolSource.read` promises."""
        params = types.ReadResourceRequestParams(uri=uri)
        try:
            return values.contents(await self._asked(types.ReadResourceRequest(params=params)))
        except ToolFailed as error:
            if error.facts.get("mcp_code") in _NOT_FOUND:
                raise ResourceNotFound(error.message, server=self._server) from error
            raise

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt, as `ToolSource.prompt` promises."""
        params = types.GetPromptRequestParams(name=name, arguments=dict(arguments))
        return values.filled(await self._asked(types.GetPromptRequest(params=params)))

    async def _listed(self) -> Library:
        offers, last = self._client.server_capabilities, self._last
        library = Library()
        if offers.resources:
            resources = await self._list(types.ListResourcesRequest, "resources", values.resource, last.resources)
            request = types.ListResourceTemplatesRequest
            templates = await self._list(request, "resourceTemplates", values.template, last.templates)
            library = replace(library, resources=resources, templates=templates)
        if offers.prompts:
            prompts = await self._list(types.ListPromptsRequest, "prompts", values.prompt, last.prompts)
            library = replace(library, prompts=prompts)
        self._last = library
        return library

    async def _list(
        self, request: Any, key: str, read: Callable[[Mapping[str, Any]], Value], last: tuple[Value, ...]
    ) -> tuple[Value, ...]:
        """Give the entries of a list, the `last` ones if the server does not give it; that costs no other list."""
        try:
            listing = await listed(
                self._client,
                lambda params: request(params=params),
                key,
                most=_MOST_ENTRIES,
                characters=_MOST_CHARACTERS,
            )
        except SDK_ERRORS as error:
            if not isinstance(error, MCPError) or error.code != types.METHOD_NOT_FOUND:
                log.warning("tool_server.list_failed", server=self._server, list=key, error=str(translated(error)))
            return last
        given = self._readable(listing.kept, key, read)
        if listing.cut:
            log.warning("tool_server.list_cut", server=self._server, list=key, entries=listing.seen, kept=len(given))
        return given

    def _readable(
        self, entries: Sequence[Any], key: str, read: Callable[[Mapping[str, Any]], Value]
    ) -> tuple[Value, ...]:
        """Give the entries that can be read; one that cannot costs itself only."""
        given, unreadable = readable(entries, read)
        if unreadable:
            why = unreadable[:MOST_NAMED]
            log.warning(
                "tool_server.entries_unreadable", server=self._server, list=key, entries=len(unreadable), why=why
            )
        return tuple(given)

    async def _asked(self, request: Any) -> dict[str, Any]:
        """Send a request in a task of the connection, whose end must be an error here and no cancellation."""
        answer: asyncio.Future[dict[str, Any] | MeshError] = asyncio.get_running_loop().create_future()
        scope = anyio.CancelScope()
        try:
            self._tasks.start_soon(self._ask, request, scope, answer)
        except RuntimeError as error:
            # The connection has just ended.
            raise ToolServerUnavailable(server=self._server) from error
        try:
            given = await answer
        finally:
            scope.cancel()
        if isinstance(given, MeshError):
            raise given
        return given

    async def _ask(
        self, request: Any, scope: anyio.CancelScope, answer: "asyncio.Future[dict[str, Any] | MeshError]"
    ) -> None:
        given: dict[str, Any] | MeshError = ToolConnectionLost()
        try:
            with scope:
                given = await self._answered(request)
        finally:
            if not answer.done():
                answer.set_result(given)

    async def _answered(self, request: Any) -> dict[str, Any] | MeshError:
        try:
            send = self._client.session.send_request
            return (await send(request, Raw, request_read_timeout_seconds=_LONGEST_SECONDS)).fields
        except SDK_ERRORS as error:
            return translated(error)
