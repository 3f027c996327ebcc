"""What the operator decided about a server's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools_svc.domain.tool import Effect, Hints


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPolicy:
    """The rules for one server's tools: seconds that a call may take, and the effect of each tool by its own name.

    `hints_trusted` is for a server that the operator wrote: what it says of a tool holds where `effects` has no word.
    """

    timeout_seconds: float
    effects: Mapping[str, Effect] = field(default_factory=dict)
    hints_trusted: bool = False

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
    if effect is Effect.READ_ONLY and hints.read_only is False:
        effect = Effect.IDEMPOTENT if hints.idempotent else Effect.UNSAFE
    if effect is Effect.IDEMPOTENT and hints.idempotent is False and not hints.read_only:
        effect = Effect.UNSAFE
    return effect
