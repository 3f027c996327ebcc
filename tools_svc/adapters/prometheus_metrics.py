"""What tools_svc counts. Wrappers around the ports; nothing inside them knows."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from threadmesh.conversation import CallFinished, CallOutcome
from threadmesh.errors import MeshError
from tools_svc.domain.call import Asked, Invocation, ToolOutput, Update
from tools_svc.domain.naming import public_name, server_of
from tools_svc.domain.ports import ToolSource
from tools_svc.domain.tool import ServerState, ServerStatus
from tools_svc.domain.wrapped_source import WrappedSource

_SECONDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300, 600)
_MOST_TOOLS = 200
_PREFIX = "threadmesh_tools"


class ToolMetrics:
    """The metrics of calls and servers; also the `CallListener` that feeds them.

    Beyond 200 tools further names count as `other`, names of no configured server as `unknown`.
    """

    def __init__(self, registry: CollectorRegistry, *, servers: frozenset[str]) -> None:
        self._servers = set(servers)
        self._tools: set[str] = set()
        by_outcome, by_server = ["tool", "outcome"], ["server"]
        self._calls = Counter(f"{_PREFIX}_calls_total", "Calls ended.", by_outcome, registry=registry)
        self._seconds = Histogram(
            f"{_PREFIX}_call_duration_seconds", "Time a call took.", ["tool"], buckets=_SECONDS, registry=registry
        )
        self._unknown = Counter(
            f"{_PREFIX}_calls_unknown_outcome_total", "Calls nobody knows the effect of.", ["tool"], registry=registry
        )
        self._retries = Counter(
            f"{_PREFIX}_retries_total", "Attempts of calls after the first.", ["tool", "reason"], registry=registry
        )
        self.attempts = Counter(f"{_PREFIX}_attempts_total", "Tries of calls.", by_outcome, registry=registry)
        self.in_flight = Gauge(f"{_PREFIX}_calls_in_flight", "Calls a server works on.", by_server, registry=registry)
        self.up = Gauge(f"{_PREFIX}_server_up", "1 while a server's tools can be called.", by_server, registry=registry)
        self.changes = Counter(
            f"{_PREFIX}_catalogue_changes_total", "Changes of a server's tools.", by_server, registry=registry
        )
        self._notifications = Counter(
            f"{_PREFIX}_notifications_total", "What servers announced.", ["server", "outcome"], registry=registry
        )
        self.questions = Counter(
            f"{_PREFIX}_questions_total", "What servers asked in the middle of calls.", by_server, registry=registry
        )
        self.file_refused = Gauge(
            f"{_PREFIX}_servers_file_refused",
            "1 while the servers file has errors and is not followed.",
            registry=registry,
        )
        self.unapproved = Gauge(
            f"{_PREFIX}_definitions_unapproved", "Tools whose definition has changed and waits.", registry=registry
        )
        self._parallel = Histogram(
            f"{_PREFIX}_batch_parallelism", "Calls in one batch.", buckets=(1, 2, 3, 5, 8, 13), registry=registry
        )

    def ended(self, tool: str, finished: CallFinished) -> None:
        """Count a call that ended."""
        label = self.label(tool)
        self._calls.labels(label, finished.outcome.value).inc()
        self._seconds.labels(label).observe(finished.seconds)
        if finished.outcome is CallOutcome.UNKNOWN:
            self._unknown.labels(label).inc()

    def notification(self, server: str, outcome: str) -> None:
        """Count a notification by what became of it."""
        self._notifications.labels(server, outcome).inc()

    def know(self, server: str) -> None:
        """Count a server's tools by name from now on."""
        self._servers.add(server)

    def retried(self, tool: str, error: MeshError) -> None:
        """Count an attempt after the first, by what ended the one before."""
        self._retries.labels(self.label(tool), error.reason.lower()).inc()

    def batch(self, calls: int) -> None:
        """Count a batch of calls."""
        self._parallel.observe(calls)

    def label(self, tool: str) -> str:
        """Give the label of a tool: its name, from a closed set."""
        if tool in self._tools:
            return tool
        if server_of(tool) not in self._servers:
            return "unknown"
        if len(self._tools) >= _MOST_TOOLS:
            return "other"
        self._tools.add(tool)
        return tool


class MeteredSource(WrappedSource):
    """A `ToolSource` whose calls are counted."""

    def __init__(self, inner: ToolSource, metrics: ToolMetrics) -> None:
        super().__init__(inner)
        self._metrics = metrics

    async def changes(self) -> AsyncGenerator[ServerStatus, None]:
        """Follow the status."""
        tools = self._inner.status.tools
        try:
            async with aclosing(self._inner.changes()) as changes:
                async for status in changes:
                    self._metrics.up.labels(self.name).set(status.state is ServerState.READY)
                    if status.tools != tools:
                        self._metrics.changes.labels(self.name).inc()
                    tools = status.tools
                    yield status
        finally:
            self._metrics.up.remove(self.name)

    async def call(self, invocation: Invocation) -> AsyncGenerator[Update, None]:
        """Run one call."""
        outcome = "cancelled"
        try:
            with self._metrics.in_flight.labels(self.name).track_inprogress():
                async with aclosing(self._inner.call(invocation)) as updates:
                    async for update in updates:
                        if isinstance(update, ToolOutput):
                            outcome = "failed" if update.is_error else "succeeded"
                        if isinstance(update, Asked):
                            outcome = "asked"
                            self._metrics.questions.labels(self.name).inc(len(update.questions))
                        yield update
        except MeshError as error:
            outcome = error.reason.lower()
            raise
        finally:
            label = self._metrics.label(public_name(self.name, invocation.tool))
            self._metrics.attempts.labels(label, outcome).inc()
