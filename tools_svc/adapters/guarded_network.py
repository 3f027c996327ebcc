"""Connections to the addresses that the servers file allows, and to no other.

A name is looked up for each new connection, its addresses are judged, and the connection is made to one that was
judged, so that a name which leads elsewhere the second time (DNS rebinding) gains nothing. `Host`, SNI and the name in
the certificate stay those of the URL. Proxies of the environment are not used: they would look names up themselves.
"""

import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import httpcore2
import httpx2

from tools_svc.adapters import web_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host, the best first, for a port; raises `OSError` when there are none."""

_MOST_CONNECTIONS = 100
_MOST_IDLE = 20
_IDLE_SECONDS = 5.0
_CONNECT_SECONDS = 5.0


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """httpx's own transport over `GuardedNetwork`."""

    def __init__(self, *, private_network: bool, resolve: Resolve = resolve) -> None:
        context = httpx2.create_ssl_context()
        super().__init__(verify=context)
        # The transport itself takes no network backend; its pool, with the same limits as httpx's own, does.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=GuardedNetwork(private_network=private_network, resolve=resolve),
        )


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses; raises httpcore's `ConnectError` with a reason when a host has none."""

    def __init__(self, *, private_network: bool, resolve: Resolve = resolve) -> None:
        self._private_network = private_network
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first allowed address that answers, in `timeout` seconds with the look-up."""
        until = time.monotonic() + (_CONNECT_SECONDS if timeout is None else timeout)
        addresses = await self._allowed(host, port, until - time.monotonic())
        for left in range(len(addresses), 0, -1):
            try:
                return await self._network.connect_tcp(
                    addresses[-left], port, max(0.0, (until - time.monotonic()) / left), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore2.ConnectError("the name has no address")

    async def sleep(self, seconds: float) -> None:
        """Sleep between the tries of a pool that repeats them."""
        await self._network.sleep(seconds)

    async def _allowed(self, host: str, port: int, seconds: float) -> list[str]:
        try:
            with anyio.fail_after(seconds):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("its name could not be looked up in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("its name cannot be looked up") from error
        refusals = {address: self._refusal(host, address) for address in addresses}
        allowed = [address for address in addresses if not refusals[address]]
        if refusals and not allowed:
            raise httpcore2.ConnectError(f"its address is refused: {next(iter(refusals.values()))}")
        return allowed

    def _refusal(self, host: str, address: str) -> str:
        return web_address.refusal(host, ipaddress.ip_address(address), private_network=self._private_network)
