"""What the tool servers of the mesh offer at one moment, and what of it a request gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from facade.domain.parameters import ServerTools
from threadmesh.conversation import ToolDefinition
from threadmesh.errors import ToolDefinitionChanged, ToolNotFound, ToolServerUnavailable

_SEPARATOR = "__"


class ApprovalRule(StrEnum):
    """Which calls of a tool a person must approve: AFTER_UNTRUSTED those of a model that has read untrusted results."""

    NEVER = "never"
    ALWAYS = "always"
    AFTER_UNTRUSTED = "after_untrusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool of the mesh, and the server that runs it.

    The hash identifies its definition; the rule of `approval` says which calls are made only if a person approves.
    Anybody may have written the results of an `untrusted` one. `effect` is `read_only`, `idempotent`, `keyed` or
    `unsafe`, as the operator says. A call of a `queued` one becomes a task.
    """

    definition: ToolDefinition
    server: str
    title: str = ""
    definition_hash: str = ""
    approval: ApprovalRule = ApprovalRule.NEVER
    untrusted: bool = False
    effect: str = "unsafe"
    queued: bool = False

    @property
    def harmless(self) -> bool:
        """Whether a call of it changes nothing."""
        return self.effect == "read_only"

    def needs_approval(self, *, trusted_context: bool) -> bool:
        """Say whether a person must approve a call, which a model makes that has read no untrusted results, or has."""
        match self.approval:
            case ApprovalRule.NEVER:
                return False
            case ApprovalRule.ALWAYS:
                return True
            case ApprovalRule.AFTER_UNTRUSTED:
                return not trusted_context


Catalogue = Mapping[str, Tool]
"""The mesh's tools that a run may call, by name."""


class ServerState(StrEnum):
    """Whether a server's tools can be called."""

    CONNECTING = "connecting"
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """A server of tools; `resting` if it fails too often and is left alone for a while.

    It is `listed` if it is known what tools it has, also while it is away.
    """

    name: str
    state: ServerState
    resting: bool = False
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A tool that is not offered until an operator approves its definition."""

    name: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The tools that can be called now; those of servers that are `away`, as last seen; and those that are `held`.

    All of them, or those that were asked for.
    """

    tools: Sequence[Tool] = ()
    away: Sequence[Tool] = ()
    held: Sequence[Held] = ()
    servers: Sequence[ToolServer] = ()

    @property
    def settled(self) -> bool:
        """Whether each server's tools are known, as far as it can be reached."""
        return all(each.listed for each in self.servers if each.state is ServerState.CONNECTING)

    @property
    def known(self) -> Catalogue:
        """The tools whose calls can be made, now or when their server is back."""
        return {tool.definition.name: tool for tool in (*self.away, *self.tools)}

    def chosen(self, wanted: ServerTools, *, begun: bool = False) -> Catalogue:
        """Choose the tools that a request wants.

        A server that is away costs its own calls and not the request, so a tool of it that is wanted by name is offered
        if its definition is known. One that is held back, or that nobody has seen yet, is left out. Raises
        `ToolNotFound` for names that nobody knows, unless the run has `begun`: it goes on with what is there.
        """
        if wanted.everything:
            return {tool.definition.name: tool for tool in self.tools}
        known = self.known
        for name in wanted.names:
            if not (begun or name in known or self._hindered(name)):
                raise ToolNotFound(tool=name)
        return {name: known[name] for name in wanted.names if name in known}

    def require(self, name: str) -> None:
        """Raise `ToolDefinitionChanged` or `ToolServerUnavailable` if that is why a tool cannot be called now."""
        if any(name == each.name for each in self.held):
            raise ToolDefinitionChanged(tool=name)
        self.require_server(server_of(name))

    def require_server(self, name: str) -> None:
        """Raise `ToolServerUnavailable` for a server that is configured and away."""
        if any(name == each.name and each.state is not ServerState.READY for each in self.servers):
            raise ToolServerUnavailable(f"The tool server {name} cannot be reached now.", server=name)

    def _hindered(self, name: str) -> bool:
        unknown = {each.name for each in self.servers if each.state is not ServerState.READY and not each.listed}
        return any(name == each.name for each in self.held) or server_of(name) in unknown


def is_tool_name(name: str) -> bool:
    """Say whether a tool of the mesh could have this name; a client's function may have such a one, too."""
    return _SEPARATOR in name


def server_of(name: str) -> str:
    """Give the server's part of a tool's name."""
    return name.partition(_SEPARATOR)[0]
