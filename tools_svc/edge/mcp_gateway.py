"""The gateway over streamable HTTP: who may come in, and how large what they bring may be."""

import asyncio
import hmac
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from threadmesh.gateway.server import GONE, Gateway
from threadmesh.settings import ConfigurationError

log = structlog.get_logger()

PATH = "/mcp"
LARGEST_BODY_BYTES = 2 * 1024 * 1024
"""What a request may hold: a call's arguments of 1 MiB, which JSON may spell twice as long."""

_MOST_SESSIONS = 512
_IDLE_SECONDS = 30 * 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the gateway listens, and whom it lets in: who knows `token`, if there is one.

    `hosts` are the names by which clients may address it besides those of loopback; also pages of these origins may
    call it, and no others, which keeps websites out that a browser on this machine shows (DNS rebinding).
    """

    listen: str
    port: int
    token: str = ""
    hosts: Sequence[str] = ()

    @property
    def security(self) -> TransportSecuritySettings:
        """The check of the headers `Host` and `Origin`."""
        places = [place for name in (*_LOOPBACK, *self.hosts) for place in (name, f"{name}:*")]
        return TransportSecuritySettings(
            allowed_hosts=places,
            allowed_origins=[f"{scheme}://{place}" for place in places for scheme in ("http", "https")],
        )


def bound(door: Door) -> socket.socket:
    """Take the door's port; raises `ConfigurationError` when it cannot be listened on."""
    listening = socket.socket(socket.AF_INET6 if ":" in door.listen else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((door.listen, door.port))
        listening.listen()
    except OSError as error:
        listening.close()
        where = f"{door.listen}:{door.port}"
        raise ConfigurationError(f"{where} cannot be listened on; is another process using it?") from error
    return listening


async def serve(gateway: Gateway, door: Door, listening: socket.socket) -> None:
    """Serve the gateway until cancelled, which ends every session."""
    manager = StreamableHTTPSessionManager(
        app=gateway,
        security_settings=door.security,
        max_request_body_size=LARGEST_BODY_BYTES,
        max_sessions=_MOST_SESSIONS,
        session_idle_timeout=_IDLE_SECONDS,
    )
    server = _Server(_config(_guarded(manager.handle_request, door.token)))
    # No task group: it would cancel the server, which must close its connections.
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="gateway")
    log.info("gateway.listening", port=listening.getsockname()[1])
    try:
        # Sessions end before the server does: their streams would keep it waiting.
        async with manager.run():
            await asyncio.wait({serving})
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
        listening.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the unit."""
        yield


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != PATH:
            await PlainTextResponse("Not found\n", 404)(scope, receive, send)
        elif token and not _knows(scope, token):
            refusal = PlainTextResponse("A valid bearer token is needed.\n", 401, {"www-authenticate": "Bearer"})
            await refusal(scope, receive, send)
        else:
            gone = scope[GONE] = asyncio.Event()
            try:
                await app(scope, receive, send)
            finally:
                gone.set()

    return guarded


def _knows(scope: Scope, token: str) -> bool:
    given = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, word = given.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(word.strip(), token.encode())


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=64 * 1024,
    )
