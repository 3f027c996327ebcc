"""At the door of a server: who is calling, and may he."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import structlog

from threadmesh.errors import CallerUnknown, MethodRefused
from threadmesh.links.certificates import member_of
from threadmesh.links.matrix import MATRIX, allowed
from threadmesh.links.tokens import KnownTokens
from threadmesh.telemetry.metrics import LinkMetrics

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
_SCHEME = "Bearer "


class Guard:
    """Lets a call in or says why not, before anything of it is looked at; once a call, whatever it streams."""

    def __init__(self, identify: Callable[[Context], str], metrics: LinkMetrics) -> None:
        """`identify` names the member that calls, or raises `CallerUnknown`."""
        self._identify = identify
        self._metrics = metrics

    def admit(self, context: Context, service: str, method: str) -> None:
        """Return if the caller may call; raises `CallerUnknown` and `MethodRefused`."""
        try:
            member = self._identify(context)
            if member not in MATRIX:
                raise CallerUnknown("The caller is no member of the mesh.", problem="no such member", shown=member[:64])
        except CallerUnknown as error:
            self._refused(context, "unknown", service, method, error.facts)
            raise
        if not allowed(member, service, method):
            self._refused(context, member, service, method, {})
            raise MethodRefused(
                f"{member} may not call {method} of {service}.", caller=member, service=service, method=method
            )

    def _refused(self, context: Context, caller: str, service: str, method: str, facts: Mapping[str, str]) -> None:
        self._metrics.refused(caller, "CALLER_UNKNOWN" if caller == "unknown" else "METHOD_REFUSED")
        log.warning("link.refused", caller=caller, method=f"{service}/{method}", peer=context.peer(), **facts)


def by_certificate(context: Context) -> str:
    """Give the member that the caller's certificate names; it was verified when the connection was made."""
    names = context.auth_context().get("peer_uri", ())
    member = member_of([name.decode(errors="replace") for name in names])
    if not member:
        raise CallerUnknown("The caller's certificate names no member of the mesh.", problem="no identity")
    return member


def by_token(tokens: KnownTokens) -> Callable[[Context], str]:
    """Give what names the member whose token a caller sends."""

    def identify(context: Context) -> str:
        sent = next((value for key, value in context.invocation_metadata() or () if key == "authorization"), "")
        if not isinstance(sent, str) or not sent.startswith(_SCHEME):
            raise CallerUnknown("The caller sent no token.", problem="no token")
        member = tokens.member(sent.removeprefix(_SCHEME))
        if not member:
            raise CallerUnknown("The caller's token is not known here.", problem="unknown token")
        return member

    return identify
