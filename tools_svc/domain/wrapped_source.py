"""What all wrappers of a source have in common."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tools_svc.domain.call import Invocation, Update
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.tool import ServerStatus


class WrappedSource:
    """A `ToolSource` around another that changes nothing; subclasses replace `call`."""

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
