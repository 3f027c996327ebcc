"""The gateway over streamable HTTP: who may come in, and how large what they bring may be."""

import asyncio
import hmac
import socket
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass

import structlog
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from threadmesh.gateway.server import GONE, Gateway
from threadmesh.settings import ConfigurationError
from tools_svc.domain.latest import Latest

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


class HttpGateway:
    """The gateway at its door. Making it takes the port; raises `ConfigurationError` when that is not to be had."""

    def __init__(self, gateway: Gateway, door: Door) -> None:
        self._gateway = gateway
        self._listening = _bound(door)
        self._manager = StreamableHTTPSessionManager(
            app=gateway,
            security_settings=door.security,
            max_request_body_size=LARGEST_BODY_BYTES,
            max_sessions=_MOST_SESSIONS,
            session_idle_timeout=_IDLE_SECONDS,
        )
        self._token = door.token
        self._requests = Latest(0)
        self._draining = False

    async def run(self) -> None:
        """Serve until cancelled, which ends every session."""
        server = _Server(_config(self._admit))
        # No task group: it would cancel the server, which must close its connections.
        serving = asyncio.create_task(server.serve(sockets=[self._listening]), name="gateway")
        log.info("gateway.listening", port=self._listening.getsockname()[1])
        try:
            # Sessions end before the server does: their streams would keep it waiting.
            async with self._manager.run():
                await asyncio.wait({serving})
        finally:
            server.should_exit = True
            await asyncio.wait({serving})
            self._listening.close()

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and give those that are under way so many seconds to end."""
        self._draining = True
        self._gateway.end_subscriptions()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(self._requests.states()) as states:
                async for _, requests in states:
                    if not requests:
                        return

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if (refusal := self._refusal(scope)) is not None:
            log.info("gateway.refused", status=refusal.status_code)
            await refusal(scope, receive, send)
        elif scope["method"] == "POST":
            with self._counted():
                await self._answer(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["path"] != PATH:
            return PlainTextResponse("Not found\n", 404)
        if self._token and not _knows(scope, self._token):
            return PlainTextResponse("A valid bearer token is needed.\n", 401, {"www-authenticate": "Bearer"})
        if self._draining and scope["method"] == "POST":
            return PlainTextResponse("The service is about to stop.\n", 503, {"retry-after": "1"})
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = scope[GONE] = asyncio.Event()
        try:
            await self._manager.handle_request(scope, receive, send)
        finally:
            gone.set()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._requests.set(self._requests.value + 1)
        try:
            yield
        finally:
            self._requests.set(self._requests.value - 1)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the unit."""
        yield


def _knows(scope: Scope, token: str) -> bool:
    given = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, word = given.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(word.strip(), token.encode())


def _bound(door: Door) -> socket.socket:
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


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=64 * 1024,
    )
