"""The metrics every unit has, and the port that shows them.

Names, labels and buckets of the RPC metrics are those of the gRPC ecosystem, so that public dashboards and rules fit.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
"""Buckets for the duration of an RPC."""


def new_registry() -> CollectorRegistry:
    """Make a registry with the process's own figures and the version that runs."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in prometheus_client
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    info = Gauge("threadmesh_build_info", "Always 1; the labels say what runs.", ["version"], registry=registry)
    info.labels(version=installed_version()).set(1)
    return registry


def installed_version() -> str:
    """Give the version of the installed distribution."""
    try:
        return version("threadmesh")
    except PackageNotFoundError:
        return "0"


class ServerMetrics:
    """What a gRPC server counts: `grpc_server_*`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["grpc_type", "grpc_service", "grpc_method"]
        started = Counter("grpc_server_started_total", "RPCs begun.", labels, registry=registry)
        handled = Counter(
            "grpc_server_handled_total", "RPCs ended, by status code.", [*labels, "grpc_code"], registry=registry
        )
        seconds = Histogram(
            "grpc_server_handling_seconds", "Time from begin to end.", labels, buckets=SECONDS, registry=registry
        )
        # The library looks a child up under a lock; only methods that there are get here, so this does not grow.
        self._started, self._handled, self._seconds = (
            cache(started.labels),
            cache(handled.labels),
            cache(seconds.labels),
        )

    def started(self, kind: str, service: str, method: str) -> None:
        """Count an RPC that begins."""
        self._started(kind, service, method).inc()

    def handled(self, kind: str, service: str, method: str, *, code: str, seconds: float) -> None:
        """Count an RPC that ended with `code` after `seconds`."""
        self._handled(kind, service, method, code).inc()
        self._seconds(kind, service, method).observe(seconds)


class LinkMetrics:
    """What a server counts about the links to it: `threadmesh_link_*`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refusals = Counter(
            "threadmesh_link_refusals_total",
            "Calls that were refused because of who called; `unknown` is everybody without an identity.",
            ["caller", "reason"],
            registry=registry,
        )
        self._registry = registry

    def refused(self, caller: str, reason: str) -> None:
        """Count a refused call of a member of the mesh, or of `unknown`."""
        self._refusals.labels(caller, reason).inc()

    def follow_expiry(self, ends: Callable[[], float]) -> None:
        """Show when the certificate ends, as seconds since 1970."""
        gauge = Gauge(
            "threadmesh_link_certificate_expiry_timestamp_seconds",
            "When this unit's certificate for links ends.",
            registry=self._registry,
        )
        gauge.set_function(ends)
