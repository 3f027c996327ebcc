"""Keeps the catalogue true to its sources and lets others follow it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from tools_svc.domain.catalog import Catalogue, Dropped, Shelf, shelve
from tools_svc.domain.latest import Latest
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import SchemaCompiler, ToolSource
from tools_svc.domain.tool import ServerState, ServerStatus


class CatalogueWatcher:
    """Holds the catalogue of all sources; it follows them while `run` runs."""

    def __init__(
        self,
        sources: Sequence[ToolSource],
        *,
        policies: Mapping[str, ServerPolicy],
        schemas: SchemaCompiler,
        on_dropped: Callable[[Dropped], None],
    ) -> None:
        """`on_dropped` hears once of each tool that is left out."""
        self._sources = sources
        self._policies = dict(policies)
        self._schemas = schemas
        self._on_dropped = on_dropped
        self._catalogue = Latest(Catalogue(shelves={each.name: self._shelf(each, each.status) for each in sources}))

    @property
    def catalogue(self) -> Catalogue:
        """The present catalogue."""
        return self._catalogue.value

    def states(self, after: int = 0) -> AsyncGenerator[tuple[int, Catalogue], None]:
        """Follow the catalogue: the present one, then each later one, numbered since the start."""
        return self._catalogue.states(after)

    async def settled(self) -> None:
        """Wait until every server can be called or has failed to be reached."""
        async with aclosing(self.states()) as states:
            async for _, catalogue in states:
                if all(server.state is not ServerState.CONNECTING for server in catalogue.servers):
                    return

    async def run(self) -> None:
        """Follow every source until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(self.follow(source), name=f"catalogue:{source.name}")

    def add(self, source: ToolSource, policy: ServerPolicy) -> None:
        """Show one source more; whoever adds it calls `follow`."""
        self._policies[source.name] = policy
        self._show({**self.catalogue.shelves, source.name: self._shelf(source, source.status)})

    def remove(self, name: str) -> None:
        """Show a source that was added no longer; whoever called `follow` has cancelled it."""
        self._show({each: shelf for each, shelf in self.catalogue.shelves.items() if each != name})

    def _show(self, shelves: Mapping[str, Shelf]) -> None:
        self._catalogue.set(Catalogue(shelves=shelves))

    async def follow(self, source: ToolSource) -> None:
        """Follow one source until cancelled."""
        async with aclosing(source.changes()) as changes:
            async for status in changes:
                self._place(source, status)

    def _place(self, source: ToolSource, status: ServerStatus) -> None:
        before = self.catalogue.shelves[source.name]
        shelf = self._shelf(source, status)
        for dropped in shelf.dropped:
            if dropped not in before.dropped:
                self._on_dropped(dropped)
        if (shelf.server, _tools(shelf)) != (before.server, _tools(before)):
            self._show({**self.catalogue.shelves, source.name: shelf})

    def _shelf(self, source: ToolSource, status: ServerStatus) -> Shelf:
        return shelve(source.name, status, self._policies[source.name], self._schemas)


def _tools(shelf: Shelf) -> list[object]:
    return [entry.tool for entry in shelf.entries]
