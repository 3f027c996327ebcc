"""Puts a source under its operator's policy."""

from collections.abc import Callable

from threadmesh.breaker import Breaker
from threadmesh.clock import Clock
from tools_svc.domain.cached_source import CachedSource
from tools_svc.domain.guarded_source import GuardedSource
from tools_svc.domain.policy import ServerPolicy
from tools_svc.domain.ports import PolicyListener, ToolSource
from tools_svc.domain.queued_source import QueuedSource


def govern(source: ToolSource, policy: ServerPolicy, *, clock: Clock, listener: PolicyListener) -> ToolSource:
    """Give the source as its policy wants it called.

    A kept answer needs no turn; a call that has its turn goes out only if the server is not left alone.
    """
    guarded = source
    check: Callable[[], None] = _pass
    if policy.breaker is not None:
        guarded = GuardedSource(source, Breaker(clock, policy.breaker), clock=clock, listener=listener)
        check = guarded.check
    queued = QueuedSource(guarded, policy, clock=clock, listener=listener, check=check)
    return CachedSource(queued, policy, clock=clock, listener=listener)


def _pass() -> None:
    """Let everything pass: nobody watches how often the server fails."""
