"""What each caller may use, counted in this process. Pure.

With several facades each counts by itself, so together they let through as many times as much.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, get_args

from facade.domain.allowance import Allowance
from threadmesh.clock import Clock
from threadmesh.errors import RateLimitExceeded
from threadmesh.keys.key import KeyLimits

Limit = Literal["requests", "tokens", "tool_calls", "streams"]
"""What is limited, as errors call it."""
LIMITS: tuple[Limit, ...] = get_args(Limit)
_STREAMS: Limit = "streams"
_BEFORE: tuple[Limit, ...] = ("requests", "tokens")
_ROUNDING = 1e-6
_AGAIN_SECONDS = 1.0
"""When to come back for a stream: nobody knows when one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How much of a limit is left, and the seconds until all of it is."""

    limit: int
    remaining: int
    reset_seconds: float


class _Use:
    """What one caller uses."""

    def __init__(self) -> None:
        self.allowances: dict[str, Allowance] = {}
        self.streams = 0

    def of(self, what: str, per_minute: int | None, now: float) -> Allowance | None:
        """Give the allowance for something; None where it has no limit. A changed limit begins anew."""
        if not per_minute:
            self.allowances.pop(what, None)
            return None
        found = self.allowances.get(what)
        if found is None or found.per_minute != per_minute:
            found = self.allowances[what] = Allowance(per_minute, now=now)
        return found

    def close_stream(self) -> None:
        self.streams -= 1


class RateLimits:
    """Counts what callers use, by their identities, and says when it is too much.

    `limits_of` gives a caller's limits, which are asked for each time: they may change.
    """

    def __init__(self, limits_of: Callable[[str], KeyLimits], clock: Clock) -> None:
        self._limits_of, self._clock = limits_of, clock
        self._uses: dict[str, _Use] = {}

    def admit(self, identity: str, *, tokens: int) -> None:
        """Take a request that is about to use so many tokens, as far as that is known.

        One that wants more tokens than a minute has waits for a full minute's worth. A refused one takes nothing.
        Raises `RateLimitExceeded`.
        """
        now = self._clock.monotonic()
        requests, budget = self._allowance(identity, "requests", now), self._allowance(identity, "tokens", now)
        _require(requests, 1, "requests", now)
        _require(budget, max(1, tokens), "tokens", now)
        if requests is not None:
            requests.take(1, now)
        if budget is not None:
            budget.take(tokens, now)

    def use_tokens(self, identity: str, tokens: int) -> None:
        """Take tokens that were used, or give those back that were not: a negative number."""
        now = self._clock.monotonic()
        if (budget := self._allowance(identity, "tokens", now)) is not None:
            budget.take(tokens, now)

    def use_tool_call(self, identity: str) -> None:
        """Take a call of a tool. Raises `RateLimitExceeded`."""
        now = self._clock.monotonic()
        calls = self._allowance(identity, "tool_calls", now)
        _require(calls, 1, "tool_calls", now)
        if calls is not None:
            calls.take(1, now)

    def open_stream(self, identity: str) -> Callable[[], None]:
        """Take one of the streams; gives what ends it, once. Raises `RateLimitExceeded`."""
        limit = self._limits_of(identity).concurrent_streams
        use = self._use(identity)
        if limit and use.streams >= limit:
            raise RateLimitExceeded(
                f"This key has its {limit} answers under way; wait until one has ended.", limited=_STREAMS
            ).after(_AGAIN_SECONDS)
        use.streams += 1
        held = ExitStack()
        held.callback(use.close_stream)
        return held.close

    def standings(self, identity: str) -> Iterator[tuple[str, Standing]]:
        """Say how requests and tokens stand, as far as they are limited."""
        now = self._clock.monotonic()
        for what in _BEFORE:
            allowance = self._allowance(identity, what, now)
            if allowance is not None:
                yield (
                    what,
                    Standing(
                        limit=allowance.per_minute,
                        remaining=max(0, int(allowance.left(now) + _ROUNDING)),
                        reset_seconds=allowance.seconds_until(allowance.per_minute, now),
                    ),
                )

    def _allowance(self, identity: str, what: Limit, now: float) -> Allowance | None:
        limits = self._limits_of(identity)
        return self._use(identity).of(what, getattr(limits, f"{what}_per_minute"), now)

    def _use(self, identity: str) -> _Use:
        return self._uses.setdefault(identity, _Use())


def _require(allowance: Allowance | None, amount: int, what: Limit, now: float) -> None:
    if allowance is None:
        return
    seconds = allowance.seconds_until(amount, now)
    if seconds > _ROUNDING:
        words = what.replace("_", " ")
        raise RateLimitExceeded(
            f"This key has reached its limit of {allowance.per_minute} {words} a minute; "
            f"try again in {max(0.01, round(seconds, 2)):g} s.",
            limited=what,
        ).after(seconds)
