"""The calling end of links: a channel for the files that are in force, and another when they are replaced."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from threadmesh.links.certificates import Material
from threadmesh.links.link import ClientLink
from threadmesh.links.tokens import OwnToken
from threadmesh.loopback import is_loopback
from threadmesh.settings import ConfigurationError

if TYPE_CHECKING:
    from threadmesh.links.credentials import Credentials

log = structlog.get_logger()

RETIRED_SECONDS = 86_400.0
"""How long calls may go on with a certificate that has been replaced; no turn takes longer."""


class SecuredChannels:
    """The channel to a target, made anew when the link's files are replaced: gRPC's own cannot change its credentials.

    Calls that run stay on the channel on which they began.
    """

    def __init__(self, target: str, link: ClientLink, *, options: Sequence[tuple[str, Any]], peer: str) -> None:
        """Raises `ConfigurationError` where the link would be unprotected, or its files cannot be used."""
        self._target = target
        self._options = [*options, *_name_to_expect(target, peer)]
        self._credentials = None if link.files.authorities is None else _credentials(link)
        if self._credentials is None and not link.insecure and not _stays_here(target):
            raise ConfigurationError(
                f"{link.settings}LINK_CA must be set to reach {target} (`threadmesh certs create` makes it); "
                f"{link.settings}LINK_INSECURE=true goes without protection"
            )
        self._token = OwnToken(link)
        self._material = None if self._credentials is None else self._credentials.current()
        self._channel = self._opened(self._material)
        self._retired: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Give the channel for new calls."""
        if self._credentials is not None and (material := self._credentials.current()) is not self._material:
            replaced, self._material = self._channel, material
            self._channel = self._opened(material)
            retiring = asyncio.ensure_future(replaced.close(RETIRED_SECONDS))
            self._retired.add(retiring)
            retiring.add_done_callback(self._retired.discard)
        return self._channel

    def authorization(self) -> list[tuple[str, str]]:
        """Give the metadata by which the server knows the caller, where it is not known by its certificate."""
        token = self._token.current()
        return [("authorization", f"Bearer {token}")] if token else []

    async def close(self, grace: float | None) -> None:
        """Close the channel, and those before it; running calls of the present one get `grace` seconds."""
        for retiring in tuple(self._retired):
            retiring.cancel()
            with suppress(asyncio.CancelledError):
                await retiring
        await self._channel.close(grace)

    def _opened(self, material: Material | None) -> grpc.aio.Channel:
        if material is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        credentials = grpc.ssl_channel_credentials(
            material.authorities, material.key or None, material.certificate or None
        )
        return grpc.aio.secure_channel(self._target, credentials, options=self._options)


def _credentials(link: ClientLink) -> "Credentials":
    from threadmesh.links.credentials import Credentials  # noqa: PLC0415  # costs nothing where links are in plaintext

    return Credentials(link.files)


def announce(link: ClientLink, targets: Sequence[str]) -> None:
    """Write to the log how the links to these targets are secured."""
    open_links = [target for target in targets if not _stays_here(target)] if link.files.authorities is None else []
    if open_links:
        log.warning("link.insecure", targets=open_links, allowed_by=f"{link.settings}LINK_INSECURE")
    else:
        log.info("link.secured", security=str(link.security), targets=list(targets))


def _name_to_expect(target: str, peer: str) -> list[tuple[str, str]]:
    """On one machine every server has the same host, so that the name to look for is the unit's."""
    return [("grpc.ssl_target_name_override", peer)] if peer and _stays_here(target) else []


def _stays_here(target: str) -> bool:
    return target.startswith(("unix:", "unix-abstract:")) or is_loopback(target.rpartition(":")[0].strip("[]"))
