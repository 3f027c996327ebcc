"""The port that shows a unit's metrics, and to whom its links are closed whether it serves."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from threadmesh.clock import Clock, SystemClock

_STALE_SECONDS = 15.0
"""Health that was not found out anew for so long says that the event loop stands still."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Readiness:
    """Whether a unit serves, as it last found out; may be asked by any thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.note(serving=False)

    def note(self, serving: bool) -> None:  # noqa: FBT001  # what a health check calls
        """Take what was found out now."""
        self._serving, self._noted = serving, self._clock.monotonic()

    def __bool__(self) -> bool:
        return self._serving and self._clock.monotonic() - self._noted < _STALE_SECONDS


@contextmanager
def metrics_server(
    registry: CollectorRegistry, *, listen: str, port: int, readiness: Readiness | None = None
) -> Iterator[int]:
    """Serve `/metrics`, and `/readyz` if there is a `readiness`, until the block ends; gives the port.

    The kubelet asks here: it has no certificate with which it could ask over gRPC.
    """
    pages = _pages(make_wsgi_app(registry), readiness)

    class Server(ThreadingMixIn, WSGIServer):
        address_family = socket.AF_INET6 if ":" in listen else socket.AF_INET
        daemon_threads = True

    server = make_server(listen, port, pages, Server, handler_class=_Silent)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _pages(metrics: Application, readiness: Readiness | None) -> Application:
    def page(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if readiness is None or environment["PATH_INFO"] != "/readyz":
            return metrics(environment, start)
        serving = bool(readiness)
        start("200 OK" if serving else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"serving\n" if serving else b"not serving\n"]

    return page


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002  # the library's signature
        return
