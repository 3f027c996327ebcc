"""The serving end of links: credentials that are replaced while the server runs, and the guard of its calls."""

import asyncio
from typing import TYPE_CHECKING

import grpc
import structlog

from threadmesh.links.guard import Guard, by_certificate, by_token
from threadmesh.links.link import Security, ServerLink
from threadmesh.links.tokens import KnownTokens
from threadmesh.loopback import is_loopback
from threadmesh.telemetry.metrics import LinkMetrics

if TYPE_CHECKING:
    from threadmesh.links.credentials import Credentials

log = structlog.get_logger()

CONNECTION_MILLISECONDS = 3_600_000
"""How long a secured connection takes new calls: certificates are looked at when one is made, so none is for ever."""
_WATCH_SECONDS = 60.0


class Door:
    """A server's side of its links; without certificate and tokens it stands open."""

    def __init__(self, link: ServerLink, metrics: LinkMetrics) -> None:
        """Raises `ConfigurationError` for files that cannot be used."""
        self._link = link
        self._credentials = _credentials(link) if link.files.certificate else None
        self.guard = _guard(link, metrics)
        if self._credentials is not None:
            metrics.follow_expiry(self._ends)

    @property
    def options(self) -> list[tuple[str, int]]:
        """What the server's options are besides the usual ones."""
        return [("grpc.max_connection_age_ms", CONNECTION_MILLISECONDS)] if self._credentials else []

    def bind(self, server: grpc.aio.Server, address: str) -> int:
        """Take the port; raises gRPC's `RuntimeError` when it is in use."""
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _server_credentials(self._credentials))

    def announce(self, address: str) -> None:
        """Write to the log how the links are secured."""
        security = self._link.security
        beyond = not is_loopback(address.rpartition(":")[0].strip("[]"))
        if beyond and security in {Security.PLAINTEXT, Security.TOKEN}:
            log.warning("link.insecure", address=address, security=str(security), allowed_by=self._insecure)
        else:
            ends = self._ends() if self._credentials else 0
            log.info("link.secured", address=address, security=str(security), certificate_ends=ends or None)

    async def watch(self) -> None:
        """Look at the certificate again and again, for ever, so that the log tells of its end when nobody connects."""
        while self._credentials is not None:
            self._credentials.current()
            await asyncio.sleep(_WATCH_SECONDS)

    @property
    def _insecure(self) -> str:
        return f"{self._link.settings}LINK_INSECURE"

    def _ends(self) -> float:
        facts = self._credentials.current().facts if self._credentials else None
        return facts.ends.timestamp() if facts else 0.0


def _credentials(link: ServerLink) -> "Credentials":
    from threadmesh.links.credentials import Credentials  # noqa: PLC0415  # costs nothing where links are open

    return Credentials(link.files)


def _guard(link: ServerLink, metrics: LinkMetrics) -> Guard | None:
    if link.tokens_file is not None:
        return Guard(by_token(KnownTokens(link.tokens_file)), metrics)
    return Guard(by_certificate, metrics) if link.files.certificate else None


def _server_credentials(credentials: "Credentials") -> grpc.ServerCredentials:
    """Give credentials that are looked up at each new connection, by whichever thread of gRPC's makes it."""
    used = credentials.current()

    def configuration() -> grpc.ServerCertificateConfiguration:
        roots = used.authorities or None
        return grpc.ssl_server_certificate_configuration([(used.key, used.certificate)], roots)

    def latest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        found = credentials.current()
        if found is used:
            return None
        used = found
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        latest,  # type: ignore[arg-type]  # None keeps what is in force, says gRPC's documentation
        require_client_authentication=bool(used.authorities),
    )
