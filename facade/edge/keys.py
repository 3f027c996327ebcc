"""Who may use the API."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable

from fastapi import Request

from facade.edge.metrics import FacadeMetrics
from threadmesh.errors import Unauthenticated


def check(keys: tuple[str, ...], metrics: FacadeMetrics) -> Callable[[Request], Awaitable[None]]:
    """Make a dependency that lets a request pass only with one of the keys; without keys everybody passes.

    What was computed for one key is not shared with another: `request.state.key` tells them apart.
    """
    known = [key.encode() for key in keys]

    async def authorised(request: Request) -> None:
        request.state.key = request.state.tenant = ""
        if not known:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode()
        # Every key is compared in full, so that the time taken says nothing about any of them.
        matches = [hmac.compare_digest(given, key) for key in known]
        if scheme.lower() != "bearer" or not any(matches):
            metrics.auth_failures.labels("missing" if not token else "invalid").inc()
            raise Unauthenticated
        request.state.key = hashlib.sha256(given).hexdigest()[:16]

    return authorised
