"""What the facade counts, and `/metrics`."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

_TURN = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300, 600)
_FIRST_BYTE = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class FacadeMetrics:
    """The facade's own figures, beside those of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "threadmesh_facade_requests_total", "HTTP requests ended.", ["route", "outcome"], registry=registry
        )
        self.request_seconds = Histogram(
            "threadmesh_facade_request_duration_seconds",
            "Time from a request to the end of its response.",
            ["route"],
            buckets=_TURN,
            registry=registry,
        )
        self.first_byte_seconds = Histogram(
            "threadmesh_facade_time_to_first_byte_seconds",
            "Time from a request to the first byte of its response's body.",
            ["route"],
            buckets=_FIRST_BYTE,
            registry=registry,
        )
        self.turn_seconds = Histogram(
            "threadmesh_facade_turn_duration_seconds",
            "Time from a run's start to its end, tools and waiting included.",
            ["outcome"],
            buckets=_TURN,
            registry=registry,
        )
        self.streams = Gauge("threadmesh_facade_streams_active", "Responses being streamed.", registry=registry)
        self.disconnects = Counter(
            "threadmesh_facade_client_disconnects_total",
            "Clients that left before their answer was complete.",
            ["action"],
            registry=registry,
        )
        self.auth_failures = Counter(
            "threadmesh_facade_auth_failures_total", "Requests refused for their key.", ["reason"], registry=registry
        )


def router(registry: CollectorRegistry) -> APIRouter:
    """Make the route that Prometheus scrapes."""
    routes = APIRouter()

    @routes.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
