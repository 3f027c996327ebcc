"""What the servicers count."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)


class EdgeMetrics:
    """Metrics of what callers do; see the help text of each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name = "threadmesh_context_"
        self.watchers = Gauge(f"{name}watchers_active", "Streams that follow the log of a run.", registry=registry)
        self.claims = Counter(f"{name}claims_total", "Claims of runs, by outcome.", ["outcome"], registry=registry)
        self.replays = Counter(
            f"{name}idempotent_replays_total",
            "Requests whose key was known, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.window_seconds = Histogram(
            f"{name}window_build_seconds", "Time to assemble a window.", buckets=_SECONDS, registry=registry
        )
        self.window_tokens = Histogram(
            f"{name}window_tokens", "Tokens of assembled windows.", buckets=_SIZES, registry=registry
        )
