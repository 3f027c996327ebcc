"""What the facade counts, and `/metrics`."""

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

from facade.domain.retries import Retries
from threadmesh.retry_budget import RetryBudget

_TURN = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300, 600)
_FIRST_BYTE = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class FacadeMetrics:
    """The facade's own figures, beside those of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(what: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"threadmesh_facade_{what}_total", meaning, labels, registry=registry)

        def seconds(what: str, meaning: str, *labels: str, buckets: Sequence[float] = _TURN) -> Histogram:
            return Histogram(f"threadmesh_facade_{what}_seconds", meaning, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "HTTP requests ended.", "route", "outcome")
        self.request_seconds = seconds("request_duration", "From a request to the end of its response.", "route")
        self.first_byte_seconds = seconds(
            "time_to_first_byte", "From a request to the first byte of its body.", "route", buckets=_FIRST_BYTE
        )
        self.turn_seconds = seconds("turn_duration", "From a run's start to its end, waiting included.", "outcome")
        self.streams = Gauge("threadmesh_facade_streams_active", "Responses being streamed.", registry=registry)
        self.disconnects = counter("client_disconnects", "Clients that left before their answer was whole.", "action")
        self.auth_failures = counter("auth_failures", "Requests refused for their key.", "reason")
        self.refused = counter("refused", "Requests and tool calls refused for a limit or for overload.", "reason")
        self.places_taken = Gauge(
            "threadmesh_facade_places_taken", "Answers being made; FACADE_PLACES is the limit.", registry=registry
        )
        self.readers_cut = counter("readers_cut", "Connections cut because their reader took nothing.")
        self.keys_file_refused = Gauge(
            "threadmesh_facade_keys_file_refused",
            "1 while the keys file is wrong and an earlier one holds.",
            registry=registry,
        )
        self.key_used = Gauge(
            "threadmesh_facade_key_last_used_timestamp_seconds",
            "When a key of the keys file was last let in, by its id.",
            ["key"],
            registry=registry,
        )
        self.retries_waiting = Gauge(
            "threadmesh_facade_retries_waiting",
            "Who waits to ask again for what is away.",
            ["what"],
            registry=registry,
        )
        self.keys_file_refusals = counter("keys_file_refusals", "Changes of the keys file that were refused.")

    def watch_retries(self, retries: Retries) -> None:
        """Show who waits to ask again."""
        for what, budget in retries.by_name().items():
            self.retries_waiting.labels(what).set_function(partial(_waiting, budget))

    def note_keys_file(self, problems: Sequence[str]) -> None:
        """Note that the keys file was found wrong, or right again."""
        self.keys_file_refused.set(bool(problems))
        if problems:
            self.keys_file_refusals.inc()


def _waiting(budget: RetryBudget) -> float:
    return budget.waiting


def router(registry: CollectorRegistry) -> APIRouter:
    """Make the route that Prometheus scrapes."""
    routes = APIRouter()

    @routes.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
