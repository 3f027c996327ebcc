"""What the policies of tool servers do, as metrics and log lines."""

from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge

from threadmesh.breaker import BreakerState

log = structlog.get_logger()

_PREFIX = "threadmesh_tools"


class PolicyMetrics:
    """A `PolicyListener` that counts, and logs what an operator asks about later.

    `on_breaker` hears of each breaker's new state, and in how many seconds a call may pass.
    """

    def __init__(self, registry: CollectorRegistry, *, on_breaker: Callable[[str, BreakerState, float], None]) -> None:
        self._on_breaker = on_breaker
        by_server = ["server"]
        self._waiting = Gauge(
            f"{_PREFIX}_calls_waiting", "Calls that wait for their turn.", by_server, registry=registry
        )
        self._hits = Counter(
            f"{_PREFIX}_cache_hits_total", "Calls answered from what was kept.", by_server, registry=registry
        )
        self._breaker = Enum(
            f"{_PREFIX}_breaker_state",
            "Whether a server's calls may go out.",
            by_server,
            states=[state.value for state in BreakerState],
            registry=registry,
        )

    def know(self, server: str) -> None:
        """Show a server before anything has happened to its calls."""
        self._waiting.labels(server).set(0)
        self._hits.labels(server)
        self._breaker.labels(server).state(BreakerState.CLOSED)

    def waiting(self, server: str, calls: int) -> None:
        """Show how many calls wait."""
        self._waiting.labels(server).set(calls)

    def cached(self, server: str, tool: str) -> None:
        """Count and log a call that was answered without its server."""
        self._hits.labels(server).inc()
        log.info("tool.cached", server=server, tool=tool)

    def breaker(self, server: str, state: BreakerState, seconds: float) -> None:
        """Show, log and pass on a breaker's new state."""
        self._on_breaker(server, state, seconds)
        self._breaker.labels(server).state(state.value)
        report = log.info if state is BreakerState.CLOSED else log.warning
        report("tool_server.breaker", server=server, state=state.value, seconds=round(seconds, 3))
