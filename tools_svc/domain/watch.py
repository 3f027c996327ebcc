"""Keeps the catalogue true to its sources and lets others follow it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

from threadmesh.breaker import BreakerState
from threadmesh.clock import Clock
from threadmesh.errors import DefinitionDiffers, ToolNotFound
from tools_svc.domain.catalog import Catalogue, Dropped, Quarantined, Shelf, shelve
from tools_svc.domain.latest import Latest
from tools_svc.domain.pins import Pins
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import SchemaCompiler, ToolSource
from tools_svc.domain.tool import Rest, Server, ServerState, ServerStatus, Tool


class CatalogueWatcher:
    """Holds the catalogue of all sources; it follows them while `run` runs."""

    def __init__(
        self,
        sources: Sequence[ToolSource],
        *,
        policies: Mapping[str, ServerPolicy],
        schemas: SchemaCompiler,
        pins: Pins,
        clock: Clock,
        on_dropped: Callable[[Dropped], None],
        on_quarantined: Callable[[Quarantined], None],
    ) -> None:
        """`on_dropped` and `on_quarantined` hear once of each tool that is left out and of each that waits."""
        self._sources = {each.name: each for each in sources}
        self._policies = dict(policies)
        self._schemas = schemas
        self._pins = pins
        self._on_dropped = on_dropped
        self._on_quarantined = on_quarantined
        self._clock = clock
        self._rests: dict[str, Rest | None] = {}
        self._shelves: Mapping[str, Shelf] = {each.name: self._shelf(each, each.status) for each in sources}
        self._catalogue = Latest(Catalogue(shelves=pins.screen(self._shelves)))

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

    def approve(self, name: str, definition_hash: str) -> Tool:
        """Trust the present definition of a tool, if it is the one of this hash, and offer it; once more is harmless.

        Raises `ToolNotFound`, `DefinitionDiffers` with the present hash, and `StoreUnavailable`, which changes nothing.
        """
        tool = self._known(name)
        if tool.definition_hash != definition_hash:
            raise DefinitionDiffers(tool=name, present_hash=tool.definition_hash)
        if any(held.tool == tool for held in self.catalogue.quarantined):
            self._pins.approve(tool)
            source = self._sources[tool.server]
            self._show({**self._shelves, source.name: self._shelf(source, source.status)})
        return tool

    def _known(self, name: str) -> Tool:
        for shelf in self.catalogue.shelves.values():
            tools = [entry.tool for entry in shelf.entries] + [held.tool for held in shelf.quarantined]
            for tool in tools:
                if tool.name == name:
                    return tool
        raise ToolNotFound(tool=name)

    def note_breaker(self, name: str, state: BreakerState, seconds: float) -> None:
        """Show that a server is left alone for so many seconds, or no longer."""
        retry_time = self._clock.now() + timedelta(seconds=seconds)
        self._rests[name] = None if state is BreakerState.CLOSED else Rest(state=state, retry_time=retry_time)
        if (shelf := self._shelves.get(name)) is not None:
            self._show({**self._shelves, name: replace(shelf, server=self._rested(shelf.server))})

    async def run(self) -> None:
        """Follow every source until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources.values():
                tasks.create_task(self.follow(source), name=f"catalogue:{source.name}")

    def add(self, source: ToolSource, policy: ServerPolicy) -> None:
        """Show one source more; whoever adds it calls `follow`."""
        self._sources[source.name] = source
        self._policies[source.name] = policy
        self._show({**self._shelves, source.name: self._shelf(source, source.status)})

    def remove(self, name: str) -> None:
        """Show a source that was added no longer; whoever called `follow` has cancelled it."""
        del self._sources[name]
        self._rests.pop(name, None)
        self._show({each: shelf for each, shelf in self._shelves.items() if each != name})

    def _show(self, shelves: Mapping[str, Shelf]) -> None:
        """Show these shelves without what is suspicious, and tell of what is held back from now on."""
        before = self.catalogue.quarantined
        self._shelves = shelves
        self._catalogue.set(Catalogue(shelves=self._pins.screen(shelves)))
        for held in self.catalogue.quarantined:
            if held not in before:
                self._on_quarantined(held)

    async def follow(self, source: ToolSource) -> None:
        """Follow one source until cancelled."""
        async with aclosing(source.changes()) as changes:
            async for status in changes:
                self._place(source, status)

    def _place(self, source: ToolSource, status: ServerStatus) -> None:
        before = self._shelves[source.name]
        shelf = self._shelf(source, status)
        for dropped in shelf.dropped:
            if dropped not in before.dropped:
                self._on_dropped(dropped)
        if (shelf.server, _offers(shelf)) != (before.server, _offers(before)):
            self._show({**self._shelves, source.name: shelf})

    def _shelf(self, source: ToolSource, status: ServerStatus) -> Shelf:
        policy = self._policies[source.name]
        shelf = shelve(source.name, status, policy, self._schemas)
        shelf = self._pins.inspect(shelf) if policy.pinned else shelf
        return replace(shelf, server=self._rested(shelf.server))

    def _rested(self, server: Server) -> Server:
        return replace(server, rest=self._rests.get(server.name))


def _offers(shelf: Shelf) -> list[object]:
    return [*(entry.tool for entry in shelf.entries), *shelf.quarantined, shelf.library]
