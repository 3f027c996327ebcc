"""By which names the API may be addressed: a page of the web must not reach one that listens on loopback.

A browser takes a page's own name for its origin, whatever address that name resolves to by then (DNS rebinding).
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from facade.edge.errors import response_of
from threadmesh.errors import InvalidArgument
from threadmesh.loopback import is_loopback

_WATCHED = frozenset({"/healthz", "/readyz", "/metrics"})


class HostNotAllowed(InvalidArgument):
    """This host name is not served here; add it to FACADE_HOSTS."""

    reason = "HOST_NOT_ALLOWED"


class KnownHosts:
    """ASGI middleware that lets requests pass for names of loopback and for the `names` given.

    Beyond loopback, what watches over the process may address it as it likes.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str], *, beyond_loopback: bool) -> None:
        self._app = app
        self._watched = _WATCHED if beyond_loopback else frozenset[str]()
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's scope, as ASGI asks."""
        watched = scope.get("path") in self._watched
        if scope["type"] == "http" and not watched and not self._known(Headers(scope=scope).get("host", "")):
            await response_of(HostNotAllowed())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, host: str) -> bool:
        name = _name(host).lower()
        return name.endswith(".localhost") or name in self._names or is_loopback(name)


def _name(host: str) -> str:
    """Give a Host header's name, without the port and an IPv6 address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
