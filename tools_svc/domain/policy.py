"""What the operator decided about a server's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from threadmesh.breaker import BreakerLimits
from tools_svc.domain.telling import DESCRIPTION
from tools_svc.domain.token_bucket import Rate
from tools_svc.domain.tool import ApprovalRule, Effect, Hints
from tools_svc.domain.verify import Verify

MOST_PARALLEL = 8
"""Calls that a server works on at once, where nothing else is said."""

MOST_WAITING = 64
"""Calls that wait for their turn at a server, where nothing else is said."""

RETRIES = 2
"""Further attempts of a call that may be repeated, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """What is said of one tool; None where its server's word holds or nothing limits it.

    Calls of a tool that is `queued` are tasks. `verify` tells how to find out what came of one that was cut off.
    `untrusted` says whether anybody may have written its results.
    """

    timeout_seconds: float | None = None
    max_parallel: int | None = None
    rate: Rate | None = None
    retries: int = RETRIES
    cache_seconds: float | None = None
    approval: ApprovalRule | None = None
    untrusted: bool | None = None
    queued: bool = False
    verify: Verify | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPolicy:
    """The rules for one server's tools: seconds that a call may take, and the effect of each tool by its own name.

    `hints_trusted` is for a server that the operator wrote: what it says of a tool holds where `effects` has no word.
    `max_parallel` and `rate` hold for all of its calls together. `approval` and `untrusted` hold for a tool of which
    nothing else is said; about the latter, None leaves the word to the server. At most `max_waiting` calls wait for
    their turn. Without a `breaker`, a server that fails is called all the same. What is not `pinned` is the operator's
    own word, and may change. Models read `description_characters` of each text that describes a tool. `tools` narrows
    and refines by a tool's own name.
    """

    timeout_seconds: float
    effects: Mapping[str, Effect] = field(default_factory=dict)
    hints_trusted: bool = False
    max_parallel: int = MOST_PARALLEL
    rate: Rate | None = None
    approval: ApprovalRule = ApprovalRule.NEVER
    untrusted: bool | None = None
    max_waiting: int = MOST_WAITING
    breaker: BreakerLimits | None = BreakerLimits()
    pinned: bool = True
    description_characters: int = DESCRIPTION
    tools: Mapping[str, ToolPolicy] = field(default_factory=dict)

    def tool(self, tool: str) -> ToolPolicy:
        """Give what is said of a tool."""
        return self.tools.get(tool, ToolPolicy())

    @property
    def longest_seconds(self) -> float:
        """The seconds that any call of this server may take."""
        return max(self.timeout_seconds, *(tool.timeout_seconds or 0.0 for tool in self.tools.values()), 0.0)

    def call_seconds(self, tool: str) -> float:
        """Give the seconds that a call of the tool may take."""
        return self.tool(tool).timeout_seconds or self.timeout_seconds

    def approval_of(self, tool: str) -> ApprovalRule:
        """Say which calls of the tool a person must approve."""
        return self.tool(tool).approval or self.approval

    def distrusts(self, tool: str, hints: Mapping[str, Hints]) -> bool:
        """Say whether anybody may have written the results of the tool, given the `hints` about the server's tools.

        The operator's word goes before the server's, which is heard only where it makes more untrusted. What `verify`
        asks can become part of a result, and counts as well.
        """
        said, verify = self.tool(tool).untrusted, self.tool(tool).verify
        if said is None and verify is not None and self.distrusts(verify.tool, hints):
            return True
        said = self.untrusted if said is None else said
        return bool(hints.get(tool, Hints()).open_world) if said is None else said

    def effect(self, tool: str, hints: Hints) -> Effect:
        """Give the effect to reckon with: the operator's word, UNSAFE without one.

        A server's hints are not trusted unless `hints_trusted`, so they only ever make it stricter.
        """
        otherwise = _hinted(hints) if self.hints_trusted else Effect.UNSAFE
        return stricter(self.effects.get(tool, otherwise), hints)


def _hinted(hints: Hints) -> Effect:
    if hints.read_only:
        return Effect.READ_ONLY
    return Effect.IDEMPOTENT if hints.idempotent else Effect.UNSAFE


def stricter(effect: Effect, hints: Hints) -> Effect:
    """Give `effect`, or a stricter one if the server itself denies it."""
    if effect is Effect.READ_ONLY and hints.destructive:
        return Effect.UNSAFE
    if effect is Effect.READ_ONLY and hints.read_only is False:
        effect = Effect.IDEMPOTENT if hints.idempotent else Effect.UNSAFE
    if effect is Effect.IDEMPOTENT and hints.idempotent is False and not hints.read_only:
        effect = Effect.UNSAFE
    return effect
