"""What all wrappers of a source have in common."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from tools_svc.domain.call import Invocation, Update
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.tool import ServerStatus


class WrappedSource:
    """A `ToolSource` around another that changes nothing; subclasses replace what they change."""

    def __init__(self, inner: ToolSource) -> None:
        self.name = inner.name
        self._inner = inner

    @property
    def status(self) -> ServerStatus:
        """The present status."""
        return self._inner.status

    def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        return self._inner.changes()

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call."""
        async with aclosing(self._inner.call(invocation)) as updates:
            async for update in updates:
                yield update

    async def read(self, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource."""
        return await self._inner.read(uri)

    def watch(self, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource."""
        return self._inner.watch(uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in a prompt."""
        return await self._inner.prompt(name, arguments)
