"""Reads the resources and prompts of all servers."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from threadmesh.conversation import Media, Text
from threadmesh.errors import PromptNotFound, ResourceNotFound, ToolResultTooLarge, ToolServerUnavailable
from tools_svc.domain.catalog import Catalogue
from tools_svc.domain.library import FilledPrompt, ResourceContent
from tools_svc.domain.output import LARGEST_BYTES
from tools_svc.domain.ports import ToolSource


class Reader:
    """Asks the server that has it. What is larger than a tool's result may be is not given."""

    def __init__(self, sources: Mapping[str, ToolSource], *, catalogue: Callable[[], Catalogue]) -> None:
        self._sources = sources
        self._catalogue = catalogue

    async def read(self, server: str, uri: str) -> tuple[ResourceContent, ...]:
        """Read a resource, listed or not: templates name more than lists do.

        Raises `ResourceNotFound`, `ToolResultTooLarge`, and what `ToolSource.read` raises.
        """
        source = self._sources.get(server)
        if source is None:
            raise ResourceNotFound(server=server, uri=uri)
        contents = await source.read(uri)
        _check_size(sum(content.size for content in contents))
        return contents

    async def watch(self, server: str, uri: str) -> AsyncGenerator[str, None]:
        """Follow a resource, as `ToolSource.watch` does, also where its server is replaced by another configuration.

        Raises `ResourceNotFound` when there is no such server, and what `ToolSource.watch` raises.
        """
        while (source := self._sources.get(server)) is not None:
            try:
                async with aclosing(source.watch(uri)) as changes:
                    async for changed in changes:
                        yield changed
            except ToolServerUnavailable:
                if self._sources.get(server) is source:
                    raise
        raise ResourceNotFound(server=server, uri=uri)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> FilledPrompt:
        """Fill in the prompt of that name.

        Raises `PromptNotFound`, `ToolResultTooLarge`, and what `ToolSource.prompt` raises.
        """
        found = self._catalogue().prompts.get(name)
        if found is None:
            raise PromptNotFound(prompt=name)
        server, prompt = found
        filled = await self._sources[server].prompt(prompt.name, arguments)
        parts = [part for message in filled.messages for part in message.parts]
        _check_size(sum(len(part.data) for part in parts if isinstance(part, Media)))
        _check_size(sum(len(part.text.encode()) for part in parts if isinstance(part, Text)))
        return filled


def _check_size(size: int) -> None:
    if size > LARGEST_BYTES:
        raise ToolResultTooLarge(bytes=size)
