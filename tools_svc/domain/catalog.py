"""Every tool that can be called, under one roof."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from threadmesh.conversation import Failure
from threadmesh.errors import (
    MeshError,
    ToolDefinitionChanged,
    ToolNotFound,
    ToolServerUnavailable,
    ToolSuspicious,
    UnsupportedSchema,
)
from tools_svc.domain.library import Library, Prompt
from tools_svc.domain.naming import CAPABILITIES, public_name, server_of
from tools_svc.domain.pin import Pin
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import Schema, SchemaCompiler
from tools_svc.domain.telling import annotations, doubts, mentions, told, told_schema
from tools_svc.domain.tool import OfferedTool, Server, ServerState, ServerStatus, Tool

ANY_OBJECT = '{"type":"object"}'
_LONGEST_DEFINITION = 256 * 1024
_LONGEST_SHELF = 1024 * 1024
"""Characters that the definitions of a server's tools may have together: a catalogue has to fit into a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tool with its schemas ready for use; `output` is None for a tool that declares none."""

    tool: Tool
    arguments: Schema
    output: Schema | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A tool that a server offers and the catalogue leaves out."""

    server: str
    tool: str
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A tool whose definition is not the pinned one, or is that but suspicious."""

    tool: Tool
    pin: Pin

    @property
    def suspicious(self) -> bool:
        """Whether it is held back though it is as it was pinned."""
        return self.pin.definition_hash == self.tool.definition_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One server's part of the catalogue."""

    server: Server
    entries: tuple[Entry, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    library: Library = Library()


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """The shelves of all configured servers, by name. Each is another than every other one, whatever is in it."""

    shelves: Mapping[str, Shelf]

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers, ordered by name; capabilities are no server."""
        return tuple(self.shelves[name].server for name in sorted(self.shelves) if name != CAPABILITIES)

    @property
    def present(self) -> tuple[Shelf, ...]:
        """The shelves of servers that are there or being reached again, ordered by name."""
        shelves = (self.shelves[name] for name in sorted(self.shelves))
        return tuple(shelf for shelf in shelves if shelf.server.state is not ServerState.UNAVAILABLE)

    @property
    def prompts(self) -> Mapping[str, tuple[str, Prompt]]:
        """The prompts that can be filled in now, each with its server, by their public names."""
        prompts: dict[str, tuple[str, Prompt]] = {}
        for shelf in self.present:
            for prompt in shelf.library.prompts:
                prompts.setdefault(public_name(shelf.server.name, prompt.name), (shelf.server.name, prompt))
        return prompts

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that can be called now, ordered by name; calls wait for a server that is being reached again."""
        return _tools_of(self.present)

    @property
    def away(self) -> tuple[Tool, ...]:
        """The tools of servers that cannot be reached now, as last listed, ordered by name."""
        present = {shelf.server.name for shelf in self.present}
        return _tools_of(shelf for name, shelf in self.shelves.items() if name not in present)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """The tools that wait for approval, ordered by name, also those of servers that are away."""
        held = (each for shelf in self.shelves.values() for each in shelf.quarantined)
        return tuple(sorted(held, key=lambda each: each.tool.name))

    def listed(self, server: str) -> bool:
        """Whether it is known what tools that server has, also while it is away."""
        shelf = self.shelves.get(server)
        return shelf is not None and bool(shelf.entries or shelf.quarantined)

    def find(self, name: str) -> Entry:
        """Give the tool of that name, also while its server is away: the call will wait for it or fail.

        Raises `ToolServerUnavailable` for a server that was never reached, `ToolDefinitionChanged`, `ToolSuspicious`,
        and `ToolNotFound`.
        """
        shelf = self.shelves.get(server_of(name))
        if shelf is None:
            raise ToolNotFound(tool=name)
        for entry in shelf.entries:
            if entry.tool.name == name:
                return entry
        for held in shelf.quarantined:
            if held.tool.name == name:
                raise _held_back(held)
        if shelf.server.state is not ServerState.READY and not shelf.entries and not shelf.quarantined:
            raise ToolServerUnavailable(server=shelf.server.name)
        raise ToolNotFound(tool=name)


def _tools_of(shelves: Iterable[Shelf]) -> tuple[Tool, ...]:
    return tuple(sorted((entry.tool for shelf in shelves for entry in shelf.entries), key=lambda tool: tool.name))


def _held_back(held: Quarantined) -> MeshError:
    name = held.tool.name
    if held.suspicious:
        return ToolSuspicious(
            f"The definition of {name} is suspicious, so it is not called. An operator can look at it and approve it "
            f"with: threadmesh tools approve {name}",
            tool=name,
        )
    return ToolDefinitionChanged(
        f"The definition of {name} has changed since it was pinned, so it is not called. An operator can "
        f"compare and approve it with: threadmesh tools approve {name}",
        tool=name,
    )


def shelve(name: str, status: ServerStatus, policy: ServerPolicy, schemas: SchemaCompiler) -> Shelf:
    """Put a server's tools on its shelf; a tool that cannot be used is left out and named in `dropped`."""
    entries: dict[str, Entry] = {}
    dropped: list[Dropped] = []
    hints = {offer.name: offer.hints for offer in reversed(status.tools)}  # of two alike the first is offered
    ambiguous = _ambiguous(name, hints)
    length = 0
    for offer in status.tools:
        try:
            length += len(offer.definition_json)
            if length > _LONGEST_SHELF:
                raise UnsupportedSchema("The definitions of this server's tools are too long together.")
            entry = _entry(name, offer, policy, schemas, untrusted=policy.distrusts(offer.name, hints))
            if entry.tool.name in entries or entry.tool.name in ambiguous:
                raise UnsupportedSchema("Another tool of this server has the same name.")
            entries[entry.tool.name] = entry
        except MeshError as error:
            dropped.append(Dropped(server=name, tool=offer.name, failure=Failure.of(error)))
    server = _server(name, status, tools=len(entries))
    return Shelf(server=server, entries=tuple(entries.values()), dropped=tuple(dropped), library=status.library)


def _ambiguous(server: str, tools: Iterable[str]) -> set[str]:
    """Give the public names to which more than one tool comes: a server can find such names if it looks for them."""
    counts = Counter(public_name(server, tool) for tool in tools)
    return {name for name, count in counts.items() if count > 1}


def _server(name: str, status: ServerStatus, *, tools: int) -> Server:
    away = status.state is ServerState.UNAVAILABLE
    return Server(
        name=name,
        state=status.state,
        failure=status.failure,
        tool_count=0 if away else tools,
        protocol_version=status.protocol_version,
        resource_count=0 if away else len(status.library.resources),
        prompt_count=0 if away else len(status.library.prompts),
    )


def _entry(server: str, offer: OfferedTool, policy: ServerPolicy, schemas: SchemaCompiler, *, untrusted: bool) -> Entry:
    if len(offer.definition_json) > _LONGEST_DEFINITION:
        raise UnsupportedSchema("The tool's definition is too long.", limit=_LONGEST_DEFINITION)
    parameters = offer.parameters_json or ANY_OBJECT
    _check_describes_object(parameters)
    limit = policy.description_characters
    title, description = told(offer.title, limit=limit), told(offer.description, limit=limit)
    shown = told_schema(parameters, limit=limit)
    tool = Tool(
        name=public_name(server, offer.name),
        server=server,
        server_tool=offer.name,
        title=title,
        description=description,
        parameters_json=shown,
        output_schema_json=offer.output_schema_json,
        effect=policy.effect(offer.name, offer.hints),
        timeout_seconds=policy.call_seconds(offer.name),
        retries=policy.tool(offer.name).retries,
        approval=policy.approval_of(offer.name),
        untrusted=untrusted,
        queued=policy.tool(offer.name).queued,
        verify=policy.tool(offer.name).verify,
        definition_hash=offer.definition_hash,
        definition_json=offer.definition_json,
        doubts=tuple(doubts(offer, limit=limit)),
        mentions=mentions(title, description, *annotations(json.loads(shown))),
    )
    output = schemas.compile(offer.output_schema_json) if offer.output_schema_json else None
    return Entry(tool=tool, arguments=schemas.compile(parameters), output=output)


def _check_describes_object(schema_json: str) -> None:
    schema = json.loads(schema_json)
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise UnsupportedSchema("The schema of a tool's arguments must describe an object.")
