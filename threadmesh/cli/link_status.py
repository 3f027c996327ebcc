"""How the links to units are secured, seen from the command line."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from threadmesh.cli.checks import Finding, Level
from threadmesh.cli.targets import MEMBER, Target
from threadmesh.links.link import ClientLink, Security
from threadmesh.loopback import is_loopback
from threadmesh.settings import ConfigurationError

_SECONDS = 3.0
_RENEW = "renew it: `threadmesh certs create --force`; units take it without a restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """One end of links: what protects it, when its certificate ends, and what is wrong with it."""

    member: str
    security: str
    ends: datetime | None = None
    problem: str = ""


async def link_statuses(targets: Sequence[Target]) -> tuple[LinkStatus, ...]:
    """Ask the units for their certificates, and look at the own one; nothing is raised."""
    asked = await asyncio.gather(*map(_link_status, targets))
    own = {target.link.files.certificate: target.link for target in targets}
    return (*asked, *(_own_status(path, link) for path, link in own.items() if path is not None))


def shown(links: Sequence[LinkStatus]) -> str:
    """Write them on one line."""
    kinds = ", ".join(dict.fromkeys(link.security for link in links))
    told = [
        f"{link.member} {link.problem or f'until {link.ends:%Y-%m-%d}'}" for link in links if link.problem or link.ends
    ]
    return f"{kinds} ({', '.join(told)})" if told else kinds


def check_links(links: Sequence[LinkStatus], *, now: datetime | None = None) -> Iterator[Finding]:
    """Every link of a running mesh is secured as it should be, for some time yet."""
    for link in links:
        check = f"link of {link.member}"
        if link.problem:
            yield Finding(check=check, level=Level.BROKEN, message=link.problem, remedy=_RENEW)
        elif link.ends:
            yield _certificate(check, link.security, link.ends, now or datetime.now(UTC))
        else:
            yield Finding(check=check, level=Level.OK, message=link.security)


def check_certificate(unit: str, path: Path, *, now: datetime | None = None) -> Finding:
    """The certificate that a unit is configured with can be read and is valid for some time yet."""
    from threadmesh.links.pem import read_certificate  # loaded by need

    check = f"certificate of {unit}"
    try:
        facts = read_certificate(path)
    except ConfigurationError as error:
        remedy = "correct its path, or make it: `threadmesh certs create`"
        return Finding(check=check, level=Level.BROKEN, message=error.message, remedy=remedy)
    return _certificate(check, str(path), facts.ends, now or datetime.now(UTC))


def check_exposure(unit: str, listen: str, *, insecure: bool) -> Finding | None:
    """A unit does not serve everybody who reaches this machine; None where it does not."""
    if not insecure or is_loopback(listen):
        return None
    message = f"{unit} lets everybody in who reaches {listen}"
    remedy = "set its LINK_CERTIFICATE, LINK_KEY and LINK_CA, and not LINK_INSECURE; see docs/security.md"
    return Finding(check=f"link of {unit}", level=Level.WARNING, message=message, remedy=remedy)


def _certificate(check: str, what: str, ends: datetime, now: datetime) -> Finding:
    from threadmesh.links.certificates import WARN_BEFORE  # loaded by need

    if now >= ends:
        return Finding(check=check, level=Level.BROKEN, message=f"it has expired on {ends:%Y-%m-%d}", remedy=_RENEW)
    message = f"{what}, until {ends:%Y-%m-%d}"
    if now >= ends - WARN_BEFORE:
        return Finding(check=check, level=Level.WARNING, message=message, remedy=_RENEW)
    return Finding(check=check, level=Level.OK, message=message)


def _own_status(path: Path, link: ClientLink) -> LinkStatus:
    from threadmesh.links.pem import read_certificate  # loaded by need

    try:
        ends = read_certificate(path).ends
    except ConfigurationError as error:
        return LinkStatus(member=MEMBER, security=str(link.security), problem=error.message)
    return LinkStatus(member=MEMBER, security=str(link.security), ends=ends)


async def _link_status(target: Target) -> LinkStatus:
    security = target.link.security
    if security in {Security.PLAINTEXT, Security.TOKEN}:
        return LinkStatus(member=target.peer, security=str(security))
    try:
        async with asyncio.timeout(_SECONDS):
            ends = await _shown_end(target)
    except ssl.SSLCertVerificationError as error:
        return LinkStatus(member=target.peer, security=str(security), problem=f"shows {error.verify_message}")
    except (OSError, TimeoutError, ConfigurationError) as error:
        return LinkStatus(member=target.peer, security=str(security), problem=f"shows no certificate ({error})")
    return LinkStatus(member=target.peer, security=str(security), ends=ends)


async def _shown_end(target: Target) -> datetime:
    """Connect as a call would, and give the end of the certificate that the unit shows."""
    from threadmesh.links.pem import certificate_of  # loaded by need

    files = target.link.files
    context = ssl.create_default_context(cafile=files.authorities)
    context.set_alpn_protocols(["h2"])
    if files.certificate:
        context.load_cert_chain(files.certificate, files.key)
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    name = target.peer if is_loopback(host) else host
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError):  # it may end the connection first: nothing was asked
            await writer.wait_closed()
    return certificate_of(encoded).ends
