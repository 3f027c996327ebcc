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
    """Holds the catalogue of the sources that were added; whoever adds one lets `follow` run for it."""

    def __init__(
        self,
        *,
        schemas: SchemaCompiler,
        pins: Pins,
        clock: Clock,
        on_dropped: Callable[[Sequence[Dropped]], None],
        on_quarantined: Callable[[Sequence[Quarantined]], None],
    ) -> None:
        """`on_dropped` and `on_quarantined` hear once of tools that are left out and of those that wait."""
        self._sources: dict[str, ToolSource] = {}
        self._policies: dict[str, ServerPolicy] = {}
        self._schemas = schemas
        self._pins = pins
        self._on_dropped = on_dropped
        self._on_quarantined = on_quarantined
        self._clock = clock
        self._rests: dict[str, Rest | None] = {}
        self._placing = asyncio.Lock()
        self._shelves: Mapping[str, Shelf] = {}
        self._catalogue = Latest(Catalogue(shelves={}))

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

    async def approve(self, name: str, definition_hash: str) -> Tool:
        """Trust the present definition of a tool, if it is the one of this hash, and offer it; once more is harmless.

        Raises `ToolNotFound`, `DefinitionDiffers` with the present hash, and `StoreUnavailable`, which changes nothing.
        """
        tool = self._known(name)
        if tool.definition_hash != definition_hash:
            raise DefinitionDiffers(tool=name, present_hash=tool.definition_hash)
        if any(held.tool == tool for held in self.catalogue.quarantined):
            await self._pins.approve(tool)
            if (source := self._sources.get(tool.server)) is not None:
                await self._place(source)
            self._show(self._shelves)  # a suspicious tool that is approved leaves its shelf as it was
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

    def add(self, source: ToolSource, policy: ServerPolicy) -> None:
        """Show one source more, without tools that are to be pinned until `follow` has looked at them."""
        self._sources[source.name] = source
        self._policies[source.name] = policy
        status = ServerStatus(state=ServerState.CONNECTING) if policy.pinned else source.status
        self._show({**self._shelves, source.name: shelve(source.name, status, policy, self._schemas)})

    def remove(self, name: str) -> None:
        """Show a source that was added no longer; whoever called `follow` has cancelled it."""
        del self._sources[name]
        self._rests.pop(name, None)
        self._show({each: shelf for each, shelf in self._shelves.items() if each != name})

    def _show(self, shelves: Mapping[str, Shelf]) -> None:
        """Show these shelves without what is suspicious, and tell of what is held back from now on."""
        before = {_identity(held) for held in self.catalogue.quarantined}
        self._shelves = shelves
        self._catalogue.set(Catalogue(shelves=self._pins.screen(shelves)))
        if new := [held for held in self.catalogue.quarantined if _identity(held) not in before]:
            self._on_quarantined(new)

    async def follow(self, source: ToolSource) -> None:
        """Follow one source until cancelled."""
        async with aclosing(source.changes()) as changes:
            async for _ in changes:
                await self._place(source)

    async def _place(self, source: ToolSource) -> None:
        """Show what the source offers now, once its new tools are pinned; one at a time, so none overtakes a newer."""
        async with self._placing:
            shelf = await self._shelf(source)
            if self._sources.get(source.name) is not source:
                return
            before = self._shelves[source.name]
            known = {(each.tool, each.failure.message) for each in before.dropped}
            if new := [each for each in shelf.dropped if (each.tool, each.failure.message) not in known]:
                self._on_dropped(new)
            if (shelf.server, _offers(shelf)) != (before.server, _offers(before)):
                self._show({**self._shelves, source.name: shelf})

    async def _shelf(self, source: ToolSource) -> Shelf:
        policy = self._policies[source.name]
        # A megabyte of definitions takes a fifth of a second, in which calls of other servers have to go on.
        shelf = await asyncio.to_thread(shelve, source.name, source.status, policy, self._schemas)
        shelf = await self._pins.inspect(shelf) if policy.pinned else shelf
        return replace(shelf, server=self._rested(shelf.server))

    def _rested(self, server: Server) -> Server:
        return replace(server, rest=self._rests.get(server.name))


def _identity(held: Quarantined) -> tuple[str, str, str]:
    return held.tool.name, held.tool.definition_hash, held.pin.definition_hash


def _offers(shelf: Shelf) -> list[object]:
    return [*(entry.tool for entry in shelf.entries), *shelf.quarantined, shelf.library]
