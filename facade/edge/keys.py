"""Who may use the API, and for what."""

from collections.abc import Callable
from dataclasses import replace

import structlog
from fastapi import Request, params

from facade.domain.keyring import Caller, Keyring, Refused
from facade.edge.metrics import FacadeMetrics
from threadmesh.clock import Clock
from threadmesh.errors import InsufficientScope, Unauthenticated
from threadmesh.keys.key import KeyLimits, Scope

log = structlog.get_logger()

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Lets requests pass whose key is valid now and has the scope that is needed."""

    def __init__(
        self,
        keyring: Callable[[], Keyring],
        metrics: FacadeMetrics,
        clock: Clock,
        *,
        usual: KeyLimits,
        on_use: Callable[[Caller], None],
    ) -> None:
        """The `usual` limits are those of callers without their own; `on_use` hears of every caller that is let in."""
        self._keyring, self._metrics, self._clock = keyring, metrics, clock
        self._usual, self._on_use = usual, on_use

    def requires(self, scope: Scope | None, *, writing: Scope | None = None) -> list[params.Depends]:
        """Make what lets requests to a router pass with this scope, or with the one for `writing` if they change it.

        None lets every key pass that is valid.

        `request.state.caller` says who calls, `request.state.key` tells callers apart for whatever is kept for one of
        them alone, and `request.state.tenant` is whose data may be seen.
        """

        async def authorised(request: Request) -> None:
            caller = self._caller(request)
            caller = replace(caller, limits=caller.limits.over(self._usual))
            request.state.caller, request.state.key, request.state.tenant = caller, caller.identity, caller.tenant
            needed = scope if writing is None or request.method in _READING else writing
            if needed is not None:
                require(request, needed)

        return [params.Depends(authorised)]

    def _caller(self, request: Request) -> Caller:
        keyring = self._keyring()
        if keyring.open:
            return Caller()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        found = keyring.caller(token, now=self._clock.now())
        if isinstance(found, Caller):
            self._on_use(found)
            return found
        self._refuse(found, sent=bool(token))
        raise Unauthenticated

    def _refuse(self, refused: Refused, *, sent: bool) -> None:
        why = refused.why if sent else "missing"
        self._metrics.auth_failures.labels(why).inc()
        if refused.key_id:
            log.info("key.refused", why=why, key_id=refused.key_id)


def require(request: Request, scope: Scope) -> None:
    """Raise `InsufficientScope` unless the request's key has a scope."""
    caller: Caller = request.state.caller
    if scope not in caller.scopes:
        raise InsufficientScope(f"This key may not do that: it lacks the scope {scope}.", scope=scope)


def stored_limit(request: Request) -> int:
    """Give how many bytes the caller's tenant may have stored; 0 is no limit."""
    caller: Caller = request.state.caller
    return caller.limits.stored_bytes or 0


def offered_tools(request: Request, configured: str) -> str:
    """Give the tools for requests that name none: those configured, or none for a key that may not use any."""
    caller: Caller = request.state.caller
    return configured if Scope.TOOLS in caller.scopes else "none"
