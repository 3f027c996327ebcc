"""What a tool is: as its server offers it, and as the catalogue holds it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from threadmesh.breaker import BreakerState
from threadmesh.conversation import Failure, ToolDefinition
from threadmesh.errors import ToolDefinitionChanged
from tools_svc.domain.library import Library
from tools_svc.domain.verify import Verify


class Effect(StrEnum):
    """What may happen when a tool is called; it decides what may be repeated."""

    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    UNSAFE = "unsafe"

    @property
    def repeatable(self) -> bool:
        """Whether sending a call twice changes what sending it once does."""
        return self is not Effect.UNSAFE

    def repeatable_by(self, *, keyed: bool) -> bool:
        """Whether that holds for a call which its server can, or cannot, know again by an idempotency key."""
        return self.repeatable and (keyed or self is not Effect.KEYED)

    @property
    def harmless(self) -> bool:
        """Whether a call that was cut off cannot have changed anything."""
        return self is Effect.READ_ONLY


class ApprovalRule(StrEnum):
    """Which calls of a tool a person must approve: AFTER_UNTRUSTED those of a model that has read untrusted results."""

    NEVER = "never"
    ALWAYS = "always"
    AFTER_UNTRUSTED = "after_untrusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a server says about a tool; None where it says nothing. Never to be trusted, only to warn.

    A tool of an `open_world` deals with what anybody may have made.
    """

    read_only: bool | None = None
    idempotent: bool | None = None
    destructive: bool | None = None
    open_world: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool as its server describes it; `definition_hash` is taken over `definition_json`: all that was sent."""

    name: str
    title: str = ""
    description: str = ""
    parameters_json: str = ""
    output_schema_json: str = ""
    hints: Hints = Hints()
    definition_hash: str = ""
    definition_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as models see and operators configure it; a call of it takes at most `timeout_seconds`.

    Title, description and the texts of its parameters are as models read them, `mentions` are the words in them that
    could be names of tools, in lower case, and `doubts` say what an operator should look at in what its server wrote.
    A call that may be repeated is sent again up to `retries` times. The rule of `approval` says which are sent only if
    a person has approved them. Anybody may have written the results of an `untrusted` one. A call of a tool that is
    `queued` becomes a task. `verify` tells how to find out what came of one of which nobody knows the outcome.
    """

    name: str
    server: str
    server_tool: str
    title: str
    description: str
    parameters_json: str
    output_schema_json: str
    effect: Effect
    timeout_seconds: float
    retries: int
    approval: ApprovalRule = ApprovalRule.NEVER
    untrusted: bool = False
    queued: bool = False
    verify: Verify | None = None
    definition_hash: str
    definition_json: str
    doubts: tuple[str, ...] = ()
    mentions: frozenset[str] = frozenset()

    @property
    def requires_approval(self) -> bool:
        """Whether there are calls of it that a person must approve."""
        return self.approval is not ApprovalRule.NEVER

    @property
    def definition(self) -> ToolDefinition:
        """What a model is told."""
        return ToolDefinition(name=self.name, description=self.description, parameters_json=self.parameters_json)


class ServerState(StrEnum):
    """Whether a server's tools can be called."""

    CONNECTING = "connecting"
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server at one moment; `tools` and `library` are those last listed, also while it cannot be reached.

    `failure` says why it could not be used last; None while it can.
    """

    state: ServerState
    failure: Failure | None = None
    protocol_version: str = ""
    tools: tuple[OfferedTool, ...] = ()
    library: Library = Library()

    def require(self, tool: str, definition_hash: str) -> None:
        """Raise `ToolDefinitionChanged` if a tool is offered by another definition than that; empty stands for any."""
        if definition_hash and any(
            each.name == tool and each.definition_hash != definition_hash for each in self.tools
        ):
            raise ToolDefinitionChanged("The tool's definition has changed since the call was made; it was not sent.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """That a server fails too often: its breaker's state, and when a call may pass to see whether it has recovered."""

    state: BreakerState
    retry_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server as the catalogue shows it; `rest` while it is left alone."""

    name: str
    state: ServerState
    failure: Failure | None
    tool_count: int
    protocol_version: str
    rest: Rest | None = None
    resource_count: int = 0
    prompt_count: int = 0
