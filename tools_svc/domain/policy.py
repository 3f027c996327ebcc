"""What the operator decided about a server's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools_svc.domain.tool import Effect, Hints


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPolicy:
    """The rules for one server's tools: seconds that a call may take, and the effect of each tool by its own name."""

    timeout_seconds: float
    effects: Mapping[str, Effect] = field(default_factory=dict)

    def effect(self, tool: str, hints: Hints) -> Effect:
        """Give the effect to reckon with: the operator's word, UNSAFE without one.

        A server's hints are not trusted, so they only ever make it stricter.
        """
        return stricter(self.effects.get(tool, Effect.UNSAFE), hints)


def stricter(effect: Effect, hints: Hints) -> Effect:
    """Give `effect`, or a stricter one if the server itself denies it."""
    if effect is Effect.READ_ONLY and hints.read_only is False:
        effect = Effect.IDEMPOTENT if hints.idempotent else Effect.UNSAFE
    if effect is Effect.IDEMPOTENT and hints.idempotent is False and not hints.read_only:
        effect = Effect.UNSAFE
    return effect
